"""Save the checkpoints from which an interrupted training resumes, and find the newest one."""

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
    """Return the newest undamaged checkpoint that `ResumeCheckpoint` saved in a folder; None if there is none.

    If the function finds a damaged `last.ckpt` or `previous.ckpt`, it prints a message and renames the file to
    `last.damaged` or `previous.damaged`. Without this, the training would rename a damaged `last.ckpt` to
    `previous.ckpt` when it saves its next checkpoint, and would thus overwrite an undamaged `previous.ckpt`.
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
        minutes: the time between two checkpoints within an epoch, in minutes. A kill loses the work since the last one.
        data: the data module. Before each checkpoint, this callback sets `data.position` to the number of the epoch and
            the number of batches that the training has taken from it. The data module saves both in the checkpoint.

    Attributes:
        began: whether the training has started. It is false if Lightning failed to load the checkpoint from which the
            training should resume.
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
        if any(max_over_ranks(self._signal, device=pl_module.device)):
            trainer.should_stop = True  # an error would keep Lightning from logging the train metrics of the epoch

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        (stop_signal,) = max_over_ranks(self._signal, device=pl_module.device)
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
    """Return the maximum of each number over all ranks. Every rank must call this function."""
    if not distributed.is_initialized():
        return list(numbers)
    reduced = torch.tensor(numbers, device=device)
    distributed.all_reduce(reduced, distributed.ReduceOp.MAX)
    maxima: list[int] = reduced.tolist()
    return maxima
