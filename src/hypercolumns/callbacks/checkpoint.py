"""Save each checkpoint atomically and with the complete model, and find checkpoints whose folder was moved."""

from functools import cached_property
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from lightning_fabric.plugins import CheckpointIO
from pytorch_lightning.callbacks import Callback, ModelCheckpoint

from hypercolumns.io import checkpoints
from hypercolumns.io.files import atomic_write
from hypercolumns.models import model_file
from hypercolumns.models.segmenter import Segmenter


class AtomicCheckpointIO(CheckpointIO):
    """Write checkpoints atomically, and load only tensors and plain values from them."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        # If torch.save opened the file itself, it would not report a full disk.
        with atomic_write(Path(path)) as temporary, temporary.open("wb") as file:
            torch.save(checkpoint, file)

    def load_checkpoint(self, path: Any, map_location: Any = None, weights_only: bool | None = None) -> dict[str, Any]:
        checkpoint: dict[str, Any] = checkpoints.load_plain(Path(path))
        return checkpoint

    def remove_checkpoint(self, path: Any) -> None:
        Path(path).unlink(missing_ok=True)


class RelocatableModelCheckpoint(ModelCheckpoint):
    """Lightning's ModelCheckpoint, which also finds the best checkpoints after their folder was moved.

    Every checkpoint lists the paths of the best checkpoints. When a training resumes, this callback replaces the folder
    in each listed path by `dirpath`, the folder that holds the checkpoints now.
    """

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        moved = {name: self._here(state_dict[name]) for name in state_dict if name.endswith("_model_path")}
        best = {self._here(path): score for path, score in state_dict["best_k_models"].items()}
        super().load_state_dict(state_dict | moved | {"dirpath": self.dirpath, "best_k_models": best})

    def _here(self, path: str) -> str:
        return str(Path(str(self.dirpath)) / Path(path).name) if path else path


class SelfContainedCheckpoint(Callback):
    """Complete each checkpoint, so that `Segmenter.load` can load the model from it.

    Lightning saves only the tensors of the task, and the task may hold only a part of the segmenter. This callback
    adds the other tensors of the segmenter, and the segmenter's settings.

    Args:
        segmenter: the complete model.
    """

    def __init__(self, segmenter: Segmenter) -> None:
        self.segmenter = segmenter

    @cached_property
    def _header(self) -> model_file.Header:
        return self.segmenter.header()

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        saved = {name.removeprefix(model_file.TRAINED) for name in checkpoint["state_dict"]}
        others = {name: tensor for name, tensor in self.segmenter.state_dict().items() if name not in saved}
        checkpoint.update(model_file.checkpoint_entry(self._header, others))
