"""Keep the maps of images: in memory up to a limit, the others on disk."""

import shutil
import tempfile
import warnings
import weakref
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from hypercolumns.models.alignment import FeatureMap


class MapCache:
    """Keep the maps of images by key. Those that were not used for the longest time are moved to disk.

    Maps that can't be written stay in memory, with a warning.

    Args:
        memory: the number of bytes of maps to keep in memory; the maps that were used last are kept in any case.
        folder: the folder for the others. The cache makes a new folder in it, and removes it at the end of the
            process; None: in the system's folder for temporary files.

    Attributes:
        held: the number of bytes of maps in memory.
    """

    def __init__(self, memory: int, folder: Path | None = None) -> None:
        self.memory, self.held = memory, 0
        self._parent = folder
        self._folder: Path | None = None
        self._maps: OrderedDict[str, list[FeatureMap]] = OrderedDict()  # in memory, the last used last
        self._files: dict[str, Path] = {}
        self._written = 0  # number of files that were written

    def __contains__(self, key: str) -> bool:
        """Return whether the maps of this image are kept."""
        return key in self._maps or key in self._files

    def put(self, key: str, maps: Sequence[FeatureMap]) -> None:
        """Keep the maps of an image, in place of those that are kept for this key."""
        self.forget(key)
        self._maps[key] = list(maps)
        self.held += _bytes(maps)
        self._spill()

    def get(self, key: str) -> list[FeatureMap]:
        """Return the maps of an image, from disk if need be."""
        if key not in self._maps:
            maps = _read(self._files[key])
            self._maps[key] = maps
            self.held += _bytes(maps)
            self._spill()
        self._maps.move_to_end(key)
        return self._maps[key]

    def forget(self, key: str) -> None:
        """Forget the maps of an image, if they are kept."""
        if key in self._maps:
            self.held -= _bytes(self._maps.pop(key))
        if key in self._files:
            self._files.pop(key).unlink()

    def _spill(self) -> None:
        """Move maps to disk until the others fit the memory."""
        while self.held > self.memory and len(self._maps) > 1:
            key = next(iter(self._maps))
            if key not in self._files:  # maps that were read from disk are there still
                try:
                    self._files[key] = self._write(self._maps[key])
                except (OSError, SafetensorError) as error:
                    warnings.warn(
                        f"maps of images can't be written to {self._parent or tempfile.gettempdir()} ({error}), so "
                        f"they stay in memory, {self.held / (1 << 30):.1f} GiB now; free space there",
                        stacklevel=2,
                    )
                    return
            self.held -= _bytes(self._maps.pop(key))

    def _write(self, maps: Sequence[FeatureMap]) -> Path:
        if self._folder is None:
            self._folder = Path(tempfile.mkdtemp(prefix="hypercolumns-maps-", dir=self._parent))
            weakref.finalize(self, shutil.rmtree, self._folder, ignore_errors=True)
        self._written += 1
        path = self._folder / f"{self._written}.safetensors"
        tensors = {
            f"{number}.{name}": value.permute(0, 2, 3, 1).contiguous() if name == "values" else value.clone()
            for number, tap_map in enumerate(maps)
            for name, value in tap_map._asdict().items()
        }
        try:
            save_file(tensors, path)
        except BaseException:
            path.unlink(missing_ok=True)
            raise
        return path


def _read(path: Path) -> list[FeatureMap]:
    tensors = load_file(path)
    return [
        FeatureMap(
            tensors[f"{number}.values"].permute(0, 3, 1, 2),
            tensors[f"{number}.row_centres"],
            tensors[f"{number}.column_centres"],
        )
        for number in range(len(tensors) // len(FeatureMap._fields))
    ]


def _bytes(maps: Sequence[FeatureMap]) -> int:
    return sum(tensor.nbytes for tap_map in maps for tensor in tap_map if isinstance(tensor, torch.Tensor))
