"""Progress bars for trainings and for the scoring of images."""

import time
from typing import Any

import pytorch_lightning as pl

from hypercolumns.runtime.progress import ProgressBar


class TrainingProgressBar(pl.Callback):
    """Show a `ProgressBar` during a training, or while `Trainer.test` scores images.

    A training has one bar for all epochs. A line with the main metrics is printed after each epoch.
    """

    _bar: ProgressBar | None = None

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        batches = int(trainer.num_training_batches)
        total, done = batches * (trainer.max_epochs or 0), trainer.global_step * trainer.accumulate_grad_batches
        self.on_train_epoch_start(trainer, pl_module)
        self._begin(ProgressBar("train", total, done, every=60.0, summary=False))

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._start, self._validated = time.monotonic(), False

    def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._validated = True

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if self._bar is not None:
            self._bar.advance(f"epoch {trainer.current_epoch + 1}/{trainer.max_epochs}  {_format_metrics(trainer)}")

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self._bar is not None:
            took = time.monotonic() - self._start
            epoch = f"epoch {trainer.current_epoch + 1}/{trainer.max_epochs}"
            self._bar.say(f"{epoch}: {_format_metrics(trainer, self._validated)}  ({took:.1f} s)")

    def on_test_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._begin(ProgressBar("score images", int(sum(trainer.num_test_batches))))

    def on_test_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        if self._bar is not None:
            self._bar.advance()

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._end()

    def on_test_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._end()

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        self._end(exception)

    def _begin(self, bar: ProgressBar) -> None:
        self._bar = bar.__enter__()

    def _end(self, exception: BaseException | None = None) -> None:
        if self._bar is not None:
            self._bar.__exit__(type(exception) if exception else None, exception, None)
            self._bar = None


def _format_metrics(trainer: pl.Trainer, validated: bool = True) -> str:
    """Return the names and values of the metrics that the task logs with `prog_bar=True`, as text.

    The val metrics are left out if `validated` is false.
    """
    metrics = {
        name: value
        for name, value in trainer.progress_bar_metrics.items()
        if isinstance(value, float) and (validated or not name.startswith("val"))
    }
    return "  ".join(f"{name} {value:.3f}" for name, value in metrics.items())
