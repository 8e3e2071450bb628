"""Keep the learning rates of the optimizer equal to those of its schedule."""

import pytorch_lightning as pl


class ScheduledRates(pl.Callback):
    """Set the learning rates of the optimizer to those of its schedule when a training begins.

    The optimizer's state in a checkpoint contains its rates. If a training goes on from the checkpoint of another
    training, it has a new schedule, and the rates in the checkpoint are those of the old one.
    """

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        for config in trainer.lr_scheduler_configs:
            groups = config.scheduler.optimizer.param_groups
            for group, rate in zip(groups, config.scheduler.get_last_lr(), strict=True):
                group["lr"] = rate
