"""Sampled hypercolumns on disk.

A store is a folder: for each split, shards of a fixed number of images in their order, each one safetensors file with a
JSON sidecar; and an index, written last, without which the store is unfinished. Everything is written under a temporary
name and then renamed, the sidecar after its shard: what has a sidecar is complete, and is never written again.

Shapes: N samples, D channels, I images.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from hypercolumns.errors import HypercolumnsError
from hypercolumns.files import read_json, replacing, write_json

INDEX = "index.json"
IMAGES_PER_SHARD = 32


@dataclass(frozen=True)
class ImageSamples:
    """The samples of one image.

    Attributes:
        id: of the image.
        size: (height, width) of the image that the positions refer to.
        positions: (N, 2) row and column.
        labels: (N,) class indices.
        hypercolumns: (N, D).
    """

    id: str
    size: tuple[int, int]
    positions: Tensor
    labels: Tensor
    hypercolumns: Tensor


class StoreWriter:
    """Writes a store, or the rest of one that was interrupted."""

    def __init__(self, folder: Path, fingerprint: Mapping[str, Any]) -> None:
        """The store in `folder`, which need not exist; `fingerprint` is all that decides its contents."""
        self.folder, self.fingerprint = folder, dict(fingerprint)
        folder.mkdir(parents=True, exist_ok=True)

    def has(self, split: str, number: int) -> bool:
        """Whether shard `number` of the split is there and complete."""
        return self._path(split, number, "json").is_file()

    def write(self, split: str, number: int, images: Sequence[ImageSamples]) -> None:
        """Write shard `number` of the split."""
        hypercolumns = [image.hypercolumns.half() for image in images]
        counts = torch.tensor([len(rows) for rows in hypercolumns])
        doubles = [rows.double() for rows in hypercolumns]
        tensors = {
            "hypercolumns": torch.cat(hypercolumns),
            "labels": torch.cat([image.labels for image in images]).to(torch.uint8),
            "images": torch.repeat_interleave(torch.arange(len(images)), counts).to(torch.int32),
            "positions": torch.cat([image.positions for image in images]).to(torch.int32),
            "sizes": torch.tensor([image.size for image in images], dtype=torch.int32),
            "sums": torch.stack([rows.sum(0) for rows in doubles]),
            "squares": torch.stack([rows.square().sum(0) for rows in doubles]),
        }
        path = self._path(split, number, "safetensors")
        with replacing(path) as temporary:
            safetensors.torch.save_file(tensors, temporary)
        sidecar = {"rows": int(counts.sum()), "images": [image.id for image in images]}
        write_json(self._path(split, number, "json"), sidecar)

    def rows(self, split: str, shards: int) -> int:
        """The number of samples in the first so many shards of the split, which are there."""
        return sum(int(read_json(self._path(split, number, "json"))["rows"]) for number in range(shards))

    def finish(self, shards: Mapping[str, int]) -> None:
        """Write the index: the number of shards of each split, all of which are there."""
        write_json(self.folder / INDEX, {"fingerprint": self.fingerprint, "shards": dict(shards)})

    def _path(self, split: str, number: int, suffix: str) -> Path:
        return self.folder / f"{split}-{number:05d}.{suffix}"


class SampleStore:
    """A finished store, read through memory maps."""

    def __init__(self, folder: Path) -> None:
        """Open it; raises HypercolumnsError if it is not a finished store."""
        self.folder = folder
        if not (folder / INDEX).is_file():
            raise HypercolumnsError(
                f"samples={folder} is not a finished store of samples (it has no {INDEX}); "
                f"make it by stage=extract, or give samples=<folder of a finished one>"
            )
        index = read_json(folder / INDEX)
        self.fingerprint: dict[str, Any] = index["fingerprint"]
        self._shards: dict[str, int] = index["shards"]
        self._splits: dict[str, Split] = {}

    def split(self, name: str) -> "Split":
        """The samples of a split."""
        if name not in self._splits:
            self._splits[name] = Split([self.folder / f"{name}-{number:05d}" for number in range(self._shards[name])])
        return self._splits[name]


class Split:
    """The samples of one split of a store, by row number."""

    def __init__(self, shards: Sequence[Path]) -> None:
        """`shards` are paths without suffix; raises HypercolumnsError if one can't be read."""
        self._tensors: list[dict[str, Tensor]] = []
        self.ids: list[str] = []
        for path in shards:
            file = path.with_suffix(".safetensors")
            try:
                with safe_open(file, framework="pt") as shard:
                    self._tensors.append({name: shard.get_tensor(name) for name in shard.keys()})
            except (OSError, SafetensorError) as error:
                raise HypercolumnsError(
                    f"{file} can't be read ({error}); make the store anew by stage=extract overwrite=true"
                ) from error
            self.ids += read_json(path.with_suffix(".json"))["images"]
        counts = torch.tensor([0, *(len(tensors["labels"]) for tensors in self._tensors)])
        self._starts = counts.cumsum(0)

    def __len__(self) -> int:
        """The number of samples."""
        return int(self._starts[-1])

    def fetch(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Hypercolumns (N, D) float16 and labels (N,) int64 of these rows (N,), in their order."""
        hypercolumns = torch.empty(len(rows), self._tensors[0]["hypercolumns"].shape[1], dtype=torch.float16)
        labels = torch.empty(len(rows), dtype=torch.int64)
        shards = torch.searchsorted(self._starts, rows, right=True) - 1
        for shard in shards.unique().tolist():
            here = (shards == shard).nonzero()[:, 0]
            local = rows[here] - self._starts[shard]
            hypercolumns[here] = self._tensors[shard]["hypercolumns"][local]
            labels[here] = self._tensors[shard]["labels"][local].long()
        return hypercolumns, labels

    @cached_property
    def labels(self) -> Tensor:
        """The labels of all samples, (N,) uint8."""
        return torch.cat([tensors["labels"] for tensors in self._tensors])

    def statistics(self) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of each channel, (D,) float64, from the sums of each image."""
        mean = sum((t["sums"].sum(0) for t in self._tensors), start=torch.zeros(())) / len(self)
        square = sum((t["squares"].sum(0) for t in self._tensors), start=torch.zeros(())) / len(self)
        return mean, (square - mean.square()).clamp(min=0).sqrt()

    def images(self) -> Iterator[ImageSamples]:
        """The samples image by image."""
        first = 0
        for tensors in self._tensors:
            for image, size in enumerate(tensors["sizes"].tolist()):
                here = tensors["images"] == image
                yield ImageSamples(
                    self.ids[first + image],
                    (size[0], size[1]),
                    tensors["positions"][here],
                    tensors["labels"][here],
                    tensors["hypercolumns"][here],
                )
            first += len(tensors["sizes"])
