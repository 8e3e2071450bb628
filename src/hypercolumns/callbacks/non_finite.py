"""Stop a training whose loss or weights are NaN or infinite."""

from typing import Any

import pytorch_lightning as pl
from torch import Tensor

from hypercolumns.data import ResumableDataModule
from hypercolumns.errors import HypercolumnsError

MAX_SHOWN = 8  # maximum number of images or samples that a message names
REMEDY = (
    "lower the learning rate, clip the gradients, or use 32-bit instead of 16-bit precision; if no setting helps, look "
    "at the images or samples named here"
)


class TerminateOnNonFinite(pl.Callback):
    """Raise HypercolumnsError if a loss or a weight is NaN or infinite.

    The loss is checked before each backward pass. The weights are checked before each checkpoint is written, so all
    weights in checkpoints are finite.

    Args:
        data: the data module. It gives the names of the images or samples of a batch, for the error message.
        remedy: the advice at the end of the error message.
    """

    def __init__(self, data: ResumableDataModule, remedy: str = REMEDY) -> None:
        self.data, self.remedy = data, remedy

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        self._batch, self._step = batch, batch_idx

    def on_before_backward(self, trainer: pl.Trainer, pl_module: pl.LightningModule, loss: Tensor) -> None:
        if not loss.isfinite().all():
            raise self._non_finite_error(trainer, f"the loss is {float(loss.detach())}")

    def on_save_checkpoint(self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: Any) -> None:
        # Even if the loss is finite, its gradients can make the weights NaN or infinite.
        for name, parameter in pl_module.named_parameters():
            if not parameter.isfinite().all():
                raise self._non_finite_error(trainer, f"{name} contains NaN or infinite values")

    def _non_finite_error(self, trainer: pl.Trainer, what: str) -> HypercolumnsError:
        names = self.data.names(self._batch, trainer.current_epoch, self._step)
        shown = ", ".join(names[:MAX_SHOWN])
        more = f" and {len(names) - MAX_SHOWN} more" if len(names) > MAX_SHOWN else ""
        return HypercolumnsError(
            f"{what} in epoch {trainer.current_epoch + 1}, step {self._step + 1}, on {shown}{more}; "
            f"earlier checkpoints are kept; {self.remedy}"
        )
