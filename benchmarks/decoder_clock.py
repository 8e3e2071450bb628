"""Train a network as stage train does, but for a given time."""

import time
from collections.abc import Callable
from functools import partial
from typing import cast

import pytorch_lightning as pl
from decoder_peers import EncoderDecoder
from omegaconf import DictConfig
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from hypercolumns.callbacks import EMAWeightAveraging
from hypercolumns.data import DatasetIndex
from hypercolumns.models.segmenter import Segmenter
from hypercolumns.settings import data, training
from hypercolumns.stages.train import class_counts
from hypercolumns.tasks import SegmentationTask
from hypercolumns.tasks.schedules import SchedulerFactory

TICKS = 1_000_000  # parts of the time in which a schedule counts, as it otherwise counts steps
MANY_EPOCHS = 1_000_000
Network = Segmenter | EncoderDecoder


class Clock:
    """How much of the time of a training has passed.

    Args:
        end: the value of `now` at which the training must end.
        now: the time in seconds: `time.time`, or `time.process_time` for the time that the CPU spends on this process.
    """

    def __init__(self, end: float, now: Callable[[], float] = time.time) -> None:
        self.end, self.now = end, now
        self.start()

    def start(self) -> None:
        """Let the schedule begin now."""
        self.begin = self.now()

    @property
    def passed(self) -> float:
        """The fraction of the time that has passed, from 0 to 1."""
        return min((self.now() - self.begin) / max(self.end - self.begin, 1e-9), 1.0)


class StopByClock(pl.Callback):
    """End a training after the step in which its time is over; the time starts with the first step."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start the clock."""
        self.clock.start()

    def on_train_batch_end(self, trainer: pl.Trainer, *_: object) -> None:
        """Stop the training if its time is over."""
        trainer.should_stop = self.clock.passed >= 1


def by_clock(make: SchedulerFactory, clock: Clock) -> SchedulerFactory:
    """Let a schedule follow the clock in place of the number of steps: one step of it is 1 / TICKS of the time."""

    def make_by_clock(optimizer: Optimizer, _: int) -> LambdaLR:
        schedule = make(optimizer, TICKS)
        schedule.lr_lambdas = [partial(_at_tick, factor, clock) for factor in schedule.lr_lambdas]
        return schedule

    return make_by_clock


def _at_tick(factor: Callable[[int], float], clock: Clock, _: int) -> float:
    return factor(round(clock.passed * TICKS))


def train_by_clock(network: Network, cfg: DictConfig, images: DatasetIndex, clock: Clock) -> int:
    """Train a network as stage train does until the time is over, and return the number of steps.

    The batches, the loss, the optimizer, the form of the schedule and the average of the weights are those of the
    config. Batches at the end of an epoch with fewer images are left out, because BatchNorm needs several.

    Args:
        network: the network.
        cfg: the config of stage train.
        images: the data set.
        clock: when to stop.

    Returns:
        The number of steps of the optimizer.
    """
    batches = data.image_data(cfg, images)
    optimization = training.optimization(cfg)
    task = SegmentationTask(
        cast(Segmenter, network),  # a peer has what the task uses
        sampler=training.pixel_sampler(cfg),
        loss=training.loss(cfg, partial(class_counts, batches)),
        seed=cfg.seed,
        **optimization | {"scheduler": by_clock(optimization["scheduler"], clock)},
    )
    trainer = pl.Trainer(
        accelerator="cpu",
        devices=1,
        precision=cfg.trainer.precision,
        max_epochs=MANY_EPOCHS,
        limit_train_batches=max(len(images.splits["train"]) // cfg.batch_size, 1),
        limit_val_batches=0,
        accumulate_grad_batches=cfg.trainer.accumulate_grad_batches,
        gradient_clip_val=cfg.trainer.gradient_clip_val,
        callbacks=[EMAWeightAveraging(cfg.ema), StopByClock(clock)],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        reload_dataloaders_every_n_epochs=1,
        use_distributed_sampler=False,
    )
    trainer.fit(task, batches)
    return int(trainer.global_step)
