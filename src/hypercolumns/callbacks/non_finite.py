"""To end a training whose numbers have run away."""

from typing import Any

import pytorch_lightning as pl
from torch import Tensor

from hypercolumns.data import ResumableDataModule
from hypercolumns.errors import HypercolumnsError

MAX_SHOWN = 8  # names of a batch in a message


class TerminateOnNonFinite(pl.Callback):
    """Raises HypercolumnsError for a loss that is not finite, before the step, and for weights that are not.

    No such state gets into a checkpoint: those that are there are good.
    """

    def __init__(self, data: ResumableDataModule) -> None:
        """The data, which can say what a batch holds."""
        self.data = data

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        self._batch, self._step = batch, batch_idx

    def on_before_backward(self, trainer: pl.Trainer, pl_module: pl.LightningModule, loss: Tensor) -> None:
        if not loss.isfinite().all():
            raise self._fault(trainer, f"the loss is {float(loss.detach())}")

    def on_save_checkpoint(self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: Any) -> None:
        # A step that began with a finite loss can spoil the weights.
        for name, parameter in pl_module.named_parameters():
            if not parameter.isfinite().all():
                raise self._fault(trainer, f"{name} is not finite")

    def _fault(self, trainer: pl.Trainer, what: str) -> HypercolumnsError:
        names = self.data.names(self._batch, trainer.current_epoch, self._step)
        more = f" and {len(names) - MAX_SHOWN} more" if len(names) > MAX_SHOWN else ""
        return HypercolumnsError(
            f"{what} in epoch {trainer.current_epoch + 1}, step {self._step + 1}, of {', '.join(names[:MAX_SHOWN])}{more}; "
            f"checkpoints of before are kept; lower optimizer.lr, set trainer.gradient_clip_val=1 or, with 16-bit "
            f"numbers, trainer.precision=32-true; if it comes with every setting, look at these images"
        )
