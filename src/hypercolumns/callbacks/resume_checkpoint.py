"""The checkpoints that an interrupted training goes on from."""

import time
from pathlib import Path
from types import FrameType
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Checkpoint
from torch import distributed

from hypercolumns.data import ResumableDataModule, TrainingPosition
from hypercolumns.io import checkpoints
from hypercolumns.runtime.progress import console
from hypercolumns.runtime.signals import handle_stop_signals

NEW, LAST, PREVIOUS = "new.ckpt", "last.ckpt", "previous.ckpt"


def resume_point(folder: Path) -> Path | None:
    """The newest checkpoint of `ResumeCheckpoint` in the folder that is not damaged.

    Says so if one is, and puts it aside: it must not become the previous one in place of a good one.
    """
    for path in (folder / LAST, folder / PREVIOUS):
        if path.is_file():
            damage = checkpoints.find_corruption(path)
            if damage is None:
                return path
            aside = path.with_suffix(".damaged")
            path.replace(aside)
            console.print(
                f"{path} is damaged ({damage}) and now {aside.name}; going on from what was before it", markup=False
            )
    return None


class ResumeCheckpoint(Checkpoint):
    """Keeps the last two states of a training, `last.ckpt` and the one before it, to go on from.

    They are saved at the end of each epoch and, within one, after a step: every so many minutes, and when a signal asks
    to stop (Ctrl-C, SIGTERM, SIGUSR1), which then ends the training. A second signal, or one while images are scored,
    ends it at once, without what came after the last checkpoint.

    Attributes:
        began: whether the training has, so that the checkpoint it goes on from is taken over.
    """

    def __init__(self, folder: Path, minutes: float, data: ResumableDataModule) -> None:
        """The folder to save to, how many minutes of work may be lost, and the data whose position is saved too."""
        self.folder, self.minutes, self.data, self.began = folder, minutes, data, False

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.began = True
        self._signal, self._can_wait, self._saved = 0, True, time.monotonic()
        handle_stop_signals(self._stop)  # Lightning brings back the handlers of before

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        done = batch_idx + 1
        if done == trainer.num_training_batches or done % trainer.accumulate_grad_batches:
            return  # the end of the epoch saves; within a step, gradients are being added up
        due = time.monotonic() - self._saved > self.minutes * 60
        stop_signal, due_on_any_rank = max_over_ranks(self._signal, int(due), device=pl_module.device)
        if stop_signal or due_on_any_rank:
            self._save(trainer, TrainingPosition(trainer.current_epoch, done))
        if stop_signal:
            raise KeyboardInterrupt(stop_signal)

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._can_wait = False

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._can_wait = True

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._save(trainer, TrainingPosition(trainer.current_epoch + 1))
        stop_signal, _ = max_over_ranks(self._signal, 0, device=pl_module.device)
        if stop_signal:
            raise KeyboardInterrupt(stop_signal)

    def _save(self, trainer: pl.Trainer, position: TrainingPosition) -> None:
        self.data.position = position
        new, last = self.folder / NEW, self.folder / LAST
        trainer.save_checkpoint(new)
        if trainer.is_global_zero:
            if last.is_file():
                last.replace(self.folder / PREVIOUS)
            new.replace(last)
        self._saved = time.monotonic()

    def _stop(self, number: int, frame: FrameType | None) -> None:
        if self._signal or not self._can_wait:
            raise KeyboardInterrupt(number)
        self._signal = number
        console.print("stopping after this step; once more stops at once")


def max_over_ranks(*numbers: int, device: torch.device) -> list[int]:
    """The maximum of each number over all ranks."""
    if not distributed.is_initialized():
        return list(numbers)
    reduced = torch.tensor(numbers, device=device)
    distributed.all_reduce(reduced, distributed.ReduceOp.MAX)
    maxima: list[int] = reduced.tolist()
    return maxima
