"""Checkpoints of a run: written whole or not at all, wherever its folder is moved, and complete models."""

import time
from functools import cached_property
from pathlib import Path
from types import FrameType
from typing import Any

import pytorch_lightning as pl
import torch
from lightning_fabric.plugins import CheckpointIO
from pytorch_lightning.callbacks import Callback, Checkpoint, ModelCheckpoint
from torch import distributed

from hypercolumns.data import ResumableDataModule, TrainingPosition
from hypercolumns.io import checkpoints
from hypercolumns.io.files import atomic_write
from hypercolumns.models import model_file
from hypercolumns.models.segmenter import Segmenter
from hypercolumns.runtime.progress import console
from hypercolumns.runtime.signals import handle_stop_signals

NEW, LAST, PREVIOUS = "new.ckpt", "last.ckpt", "previous.ckpt"


def resume_point(folder: Path) -> Path | None:
    """The newest checkpoint of `ResumeCheckpoint` in the folder that is not damaged.

    Says so if one is, and puts it aside: it must not become the previous one in place of a good one.
    """
    for path in (folder / LAST, folder / PREVIOUS):
        if path.is_file():
            fault = checkpoints.find_corruption(path)
            if fault is None:
                return path
            aside = path.with_suffix(".damaged")
            path.replace(aside)
            console.print(
                f"{path} is damaged ({fault}) and now {aside.name}; going on from what was before it", markup=False
            )
    return None


class AtomicCheckpointIO(CheckpointIO):
    """Writes each checkpoint whole or not at all."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Called by Lightning."""
        with atomic_write(Path(path)) as temporary, temporary.open("wb") as file:  # Python's, which says if it is full
            torch.save(checkpoint, file)

    def load_checkpoint(self, path: Any, map_location: Any = None, weights_only: bool | None = None) -> dict[str, Any]:
        """Called by Lightning; nothing but tensors and plain values is read."""
        checkpoint: dict[str, Any] = checkpoints.load_plain(Path(path))
        return checkpoint

    def remove_checkpoint(self, path: Any) -> None:
        """Called by Lightning."""
        Path(path).unlink(missing_ok=True)


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
        """Listen to signals, in Lightning's place, which sees to it that the handlers of before come back."""
        self.began = True
        self._signal, self._can_wait, self._saved = 0, True, time.monotonic()
        handle_stop_signals(self._stop)

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Save, and stop, if it is time; not where the gradients of several steps are being added up."""
        done = batch_idx + 1
        if done == trainer.num_training_batches or done % trainer.accumulate_grad_batches:
            return
        due = time.monotonic() - self._saved > self.minutes * 60
        wanted, due_anywhere = _max_free(self._signal, int(due), device=pl_module.device)
        if wanted or due_anywhere:
            self._save(trainer, TrainingPosition(trainer.current_epoch, done))
        if wanted:
            raise KeyboardInterrupt(wanted)

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """From here on a signal ends it at once."""
        self._can_wait = False

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """From here on a step ends before a signal does."""
        self._can_wait = True

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Save, and stop, if it was asked for."""
        self._save(trainer, TrainingPosition(trainer.current_epoch + 1))
        wanted, _ = _max_free(self._signal, 0, device=pl_module.device)
        if wanted:
            raise KeyboardInterrupt(wanted)

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


def _max_free(*numbers: int, device: torch.device) -> list[int]:
    """The largest of each of these numbers that a process has."""
    if not distributed.is_initialized():
        return list(numbers)
    found = torch.tensor(numbers, device=device)
    distributed.all_reduce(found, distributed.ReduceOp.MAX)
    most: list[int] = found.tolist()
    return most


class RelocatableModelCheckpoint(ModelCheckpoint):
    """Lightning's ModelCheckpoint; that one forgets what was best if its folder has been moved since."""

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over the state, with the paths of the files as they are now."""
        moved = {name: self._here(state_dict[name]) for name in state_dict if name.endswith("_model_path")}
        best = {self._here(path): score for path, score in state_dict["best_k_models"].items()}
        super().load_state_dict(state_dict | moved | {"dirpath": self.dirpath, "best_k_models": best})

    def _here(self, path: str) -> str:
        return str(Path(str(self.dirpath)) / Path(path).name) if path else path


class SelfContainedCheckpoint(Callback):
    """Puts into each checkpoint what `Segmenter.load` needs beside the tensors of the module that is trained."""

    def __init__(self, segmenter: Segmenter) -> None:
        """The segmenter, of which some tensors or all are trained."""
        self.segmenter = segmenter

    @cached_property
    def _header(self) -> model_file.Header:
        return self.segmenter.header()

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Called by Lightning."""
        saved = {name.removeprefix(model_file.TRAINED) for name in checkpoint["state_dict"]}
        others = {name: tensor for name, tensor in self.segmenter.state_dict().items() if name not in saved}
        checkpoint.update(model_file.checkpoint_entry(self._header, others))
