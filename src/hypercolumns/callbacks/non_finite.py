"""To end a training whose numbers have run away."""

from typing import Any

import pytorch_lightning as pl
from torch import Tensor

from hypercolumns.data import ResumableDataModule
from hypercolumns.errors import HypercolumnsError

MAX_SHOWN = 8  # names of a batch in a message
REMEDY = (
    "lower the learning rate, clip the gradients or, instead of 16-bit numbers, use 32-bit ones; if it comes with "
    "every setting, look at these images"
)


class TerminateOnNonFinite(pl.Callback):
    """Raises HypercolumnsError for a loss that is not finite, before the step, and for weights that are not.

    No such state gets into a checkpoint: those that are there are good.
    """

    def __init__(self, data: ResumableDataModule, remedy: str = REMEDY) -> None:
        """data: can say what a batch holds. remedy: what the message tells people to do."""
        self.data, self.remedy = data, remedy

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        self._batch, self._step = batch, batch_idx

    def on_before_backward(self, trainer: pl.Trainer, pl_module: pl.LightningModule, loss: Tensor) -> None:
        if not loss.isfinite().all():
            raise self._non_finite_error(trainer, f"the loss is {float(loss.detach())}")

    def on_save_checkpoint(self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: Any) -> None:
        # A step that began with a finite loss can spoil the weights.
        for name, parameter in pl_module.named_parameters():
            if not parameter.isfinite().all():
                raise self._non_finite_error(trainer, f"{name} is not finite")

    def _non_finite_error(self, trainer: pl.Trainer, what: str) -> HypercolumnsError:
        names = self.data.names(self._batch, trainer.current_epoch, self._step)
        shown = ", ".join(names[:MAX_SHOWN])
        more = f" and {len(names) - MAX_SHOWN} more" if len(names) > MAX_SHOWN else ""
        return HypercolumnsError(
            f"{what} in epoch {trainer.current_epoch + 1}, step {self._step + 1}, of {shown}{more}; "
            f"checkpoints of before are kept; {self.remedy}"
        )
