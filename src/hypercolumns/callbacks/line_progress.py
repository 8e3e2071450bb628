"""Progress of a training as lines, for logs and pipes."""

import time

import pytorch_lightning as pl

from hypercolumns.progress import console


class LineProgress(pl.Callback):
    """Prints one line an epoch: its number, time and the figures that a progress bar would show."""

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Remember when."""
        self._start = time.monotonic()

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Print the line."""
        figures = {name: value for name, value in trainer.progress_bar_metrics.items() if isinstance(value, float)}
        text = "  ".join(f"{name} {value:.3f}" for name, value in figures.items())
        took = time.monotonic() - self._start
        console.print(f"epoch {trainer.current_epoch + 1}/{trainer.max_epochs}: {text}  ({took:.1f} s)")
