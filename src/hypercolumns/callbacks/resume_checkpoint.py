"""Save checkpoints from which an interrupted training can resume, and find the newest of them."""

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
    """Return the newest undamaged checkpoint of `ResumeCheckpoint` in a folder; None if there is none.

    If `last.ckpt` or `previous.ckpt` is damaged, this is printed, and the file is renamed to `last.damaged` or
    `previous.damaged`. Otherwise, a damaged `last.ckpt` would replace an undamaged `previous.ckpt` when the training
    saves its next checkpoint.
    """
    for path in (folder / LAST, folder / PREVIOUS):
        if path.is_file():
            damage = checkpoints.find_corruption(path)
            if damage is None:
                return path
            aside = path.with_suffix(".damaged")
            path.replace(aside)
            console.print(
                f"{path} is damaged ({damage}), so it was renamed to {aside.name}; the training resumes from the "
                f"checkpoint before it or, if there is none, starts again",
                markup=False,
            )
    return None


class ResumeCheckpoint(Checkpoint):
    """Save the last two states of a training as `last.ckpt` and `previous.ckpt`, from which the training can resume.

    A checkpoint is saved at the end of each epoch. It is also saved after a step if the last checkpoint is more than
    `minutes` old. After a stop signal (Ctrl-C, SIGTERM, SIGUSR1), the training finishes its step, saves a checkpoint
    and stops. A second signal, or a signal during validation, stops the training at once; the steps since the last
    checkpoint are then lost.

    Args:
        folder: the folder of the two checkpoints.
        minutes: the time between two checkpoints within an epoch, in minutes. A kill loses about this much work.
        data: the data module. Before each checkpoint, it receives the position of the training: the epoch, and how many
            batches of the epoch are done. It saves this position in the checkpoint.

    Attributes:
        began: whether the training has started. A resumed training starts only after Lightning has loaded its
            checkpoint without an error.
    """

    def __init__(self, folder: Path, minutes: float, data: ResumableDataModule) -> None:
        self.folder, self.minutes, self.data, self.began = folder, minutes, data, False

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.began = True
        self._signal, self._can_wait, self._saved = 0, True, time.monotonic()
        handle_stop_signals(self._stop)  # Lightning restores the earlier signal handlers when the training ends

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        done = batch_idx + 1
        if done == trainer.num_training_batches or done % trainer.accumulate_grad_batches:
            # After the last batch, on_train_epoch_end saves. Between two optimizer steps, there are accumulated
            # gradients, which a checkpoint does not hold.
            return
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
        console.print("the training stops after this step; a second signal stops it at once")


def max_over_ranks(*numbers: int, device: torch.device) -> list[int]:
    """Return for each number its maximum over all ranks. Every rank must call this function."""
    if not distributed.is_initialized():
        return list(numbers)
    reduced = torch.tensor(numbers, device=device)
    distributed.all_reduce(reduced, distributed.ReduceOp.MAX)
    maxima: list[int] = reduced.tolist()
    return maxima
