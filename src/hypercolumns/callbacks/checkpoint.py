"""Checkpoints of a run, wherever its folder is moved."""

from pathlib import Path
from typing import Any

from pytorch_lightning.callbacks import ModelCheckpoint


class MovableCheckpoint(ModelCheckpoint):
    """Lightning's ModelCheckpoint; that one forgets what was best if its folder has been moved since."""

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over the state, with the paths of the files as they are now."""
        moved = {name: self._here(state_dict[name]) for name in state_dict if name.endswith("_model_path")}
        best = {self._here(path): score for path, score in state_dict["best_k_models"].items()}
        super().load_state_dict(state_dict | moved | {"dirpath": self.dirpath, "best_k_models": best})

    def _here(self, path: str) -> str:
        return str(Path(str(self.dirpath)) / Path(path).name) if path else path
