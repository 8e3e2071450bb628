"""How fast a training goes."""

import time
from typing import Any

import pytorch_lightning as pl


class Throughput(pl.Callback):
    """Logs, once an epoch, the images or samples that a second of training took, reading included, scoring not."""

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Begin to count: an epoch that goes on after an interruption does not start."""
        self.on_train_epoch_start(trainer, pl_module)

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Begin to count."""
        self._count, self._start, self._end = 0, time.perf_counter(), time.perf_counter()

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Count a batch, whose first part has an entry for each image or sample."""
        self._count += len(batch[0])
        self._what = "images" if batch[0].ndim == 4 else "samples"
        self._end = time.perf_counter()

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Log the rate."""
        rate = self._count * trainer.world_size / max(self._end - self._start, 1e-9)
        pl_module.log(f"train/{self._what}_per_second", rate)
