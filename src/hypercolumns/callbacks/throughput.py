"""Measure the speed of a training."""

import time
from typing import Any

import pytorch_lightning as pl


class Throughput(pl.Callback):
    """Log after each epoch how many images or samples per second all ranks together have trained on.

    The time includes the loading of the data, but not the validation.
    """

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.on_train_epoch_start(trainer, pl_module)  # Lightning does not call this hook for an epoch that it resumes

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._count, self._start, self._end = 0, time.perf_counter(), time.perf_counter()

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self._count += len(batch[0])  # images (B, 3, H, W) or hypercolumns (N, D)
        self._what = "images" if batch[0].ndim == 4 else "samples"
        self._end = time.perf_counter()

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        rate = self._count * trainer.world_size / max(self._end - self._start, 1e-9)
        pl_module.log(f"train/{self._what}_per_second", rate)
