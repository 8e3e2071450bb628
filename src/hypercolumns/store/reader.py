"""Reading a finished store, through memory maps."""

import functools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from hypercolumns.coordinates import PixelCoordinates
from hypercolumns.errors import HypercolumnsError, StoreError
from hypercolumns.io.files import read_json
from hypercolumns.store.shard import (
    FINGERPRINT,
    FORMAT,
    INDEX,
    REPAIR,
    Fingerprint,
    ImageSamples,
    Shard,
)


def fingerprint_of(folder: Path) -> dict[str, Any] | None:
    """What decides the contents of the store in a folder, finished or not; None if there is none that can be read."""
    try:
        return read_json(folder / FINGERPRINT)
    except HypercolumnsError:
        return None


class Samples(NamedTuple):
    """Features (N, D) float16, labels (N,) int64, and the coordinates (N,) float32 of their pixels, if asked for."""

    features: Tensor
    labels: Tensor
    coordinates: PixelCoordinates


class SampleStore:
    """A finished store.

    Attributes:
        folder: of the store.
        fingerprint: all that decided its contents.
        index_entries: what the index says of each shard of each split.
    """

    def __init__(self, folder: Path) -> None:
        """Open it; raises StoreError if it is not a finished store."""
        self.folder = folder
        path = folder / INDEX
        if not path.is_file():
            raise StoreError(f"{folder} is not a finished store of samples (it has no {INDEX}); finish or replace it")
        index = read_json(path)
        if index.get("format") != FORMAT:
            raise StoreError(
                f"{path} is of format {index.get('format')}, this version reads {FORMAT}; make the store anew"
            )
        try:
            self.fingerprint: dict[str, Any] = dict(index["fingerprint"])
            self.index_entries: dict[str, list[dict[str, Any]]] = dict(index["splits"].items())
            self._splits = {
                name: Split(folder, name, entries, self.fingerprint) for name, entries in self.index_entries.items()
            }
        except (AttributeError, IndexError, KeyError, TypeError, ValueError, ArithmeticError, RuntimeError) as error:
            raise StoreError(
                f"{path} is damaged ({error!r}); remove it and finish the store, which writes it anew"
            ) from error

    def split(self, name: str) -> "Split":
        """The samples of a split; raises StoreError if files of its shards are missing or cut short."""
        if name not in self._splits:
            raise StoreError(f"{self.folder / INDEX} lists no {name} split; finish the store with it")
        self._splits[name].check()
        return self._splits[name]


class Split:
    """The samples of one split of a store, by row number.

    Its memory does not grow with the rows. It can be sent to other processes, which map the files for themselves.

    Attributes:
        shards: its shards, in order.
        counts: (shards, classes) int64, the samples of each class in each shard.
        bytes: of all its shards.
        channels: D.
    """

    def __init__(self, folder: Path, name: str, entries: Sequence[dict[str, Any]], fingerprint: Fingerprint) -> None:
        """The shards that the index lists; raises whatever comes of an entry that is not as it should be."""
        self.shards = [Shard(folder, name, number) for number in range(len(entries))]
        self.counts = torch.nn.utils.rnn.pad_sequence(
            [torch.tensor(entry["samples_per_class"], dtype=torch.int64) for entry in entries], batch_first=True
        )
        self.bytes = sum(int(entry["bytes"]) for entry in entries)
        self.channels = int(entries[0]["channels"])
        for entry in entries:
            if entry["rows"] != sum(entry["samples_per_class"]) or entry["channels"] != self.channels:
                raise ValueError(f"rows or channels of {entry['shard']}")
        self._index_entries, self._fingerprint = entries, fingerprint
        self._starts = torch.tensor([0, *(int(entry["rows"]) for entry in entries)]).cumsum(0)
        self._maps: dict[int, dict[str, Tensor]] = {}

    def __getstate__(self) -> dict[str, Any]:
        """Without the maps, which would be copied."""
        return self.__dict__ | {"_maps": {}}

    def __len__(self) -> int:
        """The number of samples."""
        return int(self._starts[-1])

    def samples_per_class(self, classes: int) -> Tensor:
        """(classes,) int64."""
        return torch.nn.functional.pad(self.counts.sum(0), (0, classes - self.counts.shape[1]))

    def samples_per_image(self) -> Tensor:
        """(I,) int64, of all its images, in the order of their rows."""
        return torch.cat([self._rows_of_images(number) for number in range(len(self.shards))])

    def check(self) -> None:
        """Raise StoreError unless every shard and sidecar is there, at its size."""
        for shard, entry in zip(self.shards, self._index_entries, strict=True):
            if not shard.sidecar.is_file():
                raise StoreError(f"{shard.sidecar} is missing; {REPAIR}")
            size = shard.file.stat().st_size if shard.file.is_file() else 0
            if size != entry["bytes"]:
                raise StoreError(f"{shard.file} has {size} bytes, not {entry['bytes']}; {REPAIR}")

    def start(self, number: int) -> int:
        """The first row of a shard."""
        return int(self._starts[number])

    def tensors(self, number: int) -> dict[str, Tensor]:
        """The tensors of a shard (see `Shard.load`)."""
        if number not in self._maps:
            found, entry = self.shards[number].load(self._fingerprint), self._index_entries[number]
            if found["features"].shape != (entry["rows"], self.channels):
                raise self.shards[number].damage_error(f"it has not the {entry['rows']} samples that {INDEX} lists")
            counts = found["labels"].bincount(minlength=self.counts.shape[1])
            if not torch.equal(counts, self.counts[number]):
                raise self.shards[number].damage_error(f"it has not the samples of each class that {INDEX} lists")
            self._maps[number] = found
        return self._maps[number]

    def fetch(self, rows: Tensor, with_coordinates: bool = False) -> Samples:
        """The samples of these rows (N,), in their order, fastest if it ascends; on request with coordinates."""
        if (rows.diff() < 0).any():
            ascending, order = rows.sort()
            back = order.argsort()
            found = self.fetch(ascending, with_coordinates)
            own = PixelCoordinates(*(one[back] for one in found.coordinates)) if with_coordinates else found.coordinates
            return Samples(found.features[back], found.labels[back], own)
        features = torch.empty(len(rows), self.channels, dtype=torch.float16)
        labels = torch.empty(len(rows), dtype=torch.uint8)
        counts = torch.searchsorted(rows, self._starts).diff()
        of_shard = counts.tolist()
        local = rows - torch.repeat_interleave(self._starts[:-1], counts)
        parts = zip(*(one.split(of_shard) for one in (local, features, labels)), strict=True)
        middles = [torch.empty(0, 2)]
        for number, (which, to_features, to_labels) in enumerate(parts):
            if of_shard[number]:
                tensors = self.tensors(number)
                torch.index_select(tensors["features"], 0, which, out=to_features)
                torch.index_select(tensors["labels"], 0, which, out=to_labels)
                if with_coordinates:
                    sizes = tensors["sizes"][self._images_of(number, which)]
                    middles.append((tensors["positions"][which] + 0.5) / sizes)
        return Samples(features, labels.long(), PixelCoordinates(*torch.cat(middles).unbind(1)))

    def origins(self, rows: Tensor) -> list[tuple[str, int, int]]:
        """Image, row and column where each of these samples (N,) was taken."""
        ids = functools.cache(lambda number: self._ids(number))
        found = []
        numbers = torch.searchsorted(self._starts, rows, right=True) - 1
        for number, row in zip(numbers.tolist(), rows.tolist(), strict=True):
            tensors, local = self.tensors(number), row - self.start(number)
            y, x = tensors["positions"][local].tolist()
            found.append((ids(number)[int(self._images_of(number, torch.tensor(local)))], y, x))
        return found

    def _rows_of_images(self, number: int) -> Tensor:
        """How many samples each image of a shard has, (I,) int64."""
        return self._images_of(number, slice(None)).bincount(minlength=len(self.tensors(number)["sizes"]))

    def _images_of(self, number: int, rows: Tensor | slice) -> Tensor:
        """The numbers in a shard of the images that these rows of it are of, (N,) int64."""
        tensors = self.tensors(number)
        images = tensors["images"][rows].long()
        if ((images < 0) | (images >= len(tensors["sizes"]))).any():
            raise self.shards[number].damage_error("it has samples of no image")
        return images

    def _ids(self, number: int) -> list[str]:
        """Of the images of a shard."""
        ids, images = self.shards[number].ids(), len(self.tensors(number)["sizes"])
        if len(ids) != images:
            sidecar = self.shards[number].sidecar
            raise StoreError(f"{sidecar} is damaged (it lists {len(ids)} images of {images}); {REPAIR}")
        return ids

    def statistics(self) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of each channel, (D,) float64."""
        sums, squares = torch.zeros(self.channels).double(), torch.zeros(self.channels).double()
        for number in range(len(self.shards)):
            sums += self.tensors(number)["sums"]
            squares += self.tensors(number)["squares"]
        mean = sums / len(self)
        return mean, (squares / len(self) - mean.square()).clamp(min=0).sqrt()

    def images(self) -> Iterator[ImageSamples]:
        """The samples image by image."""
        for number in range(len(self.shards)):
            tensors, ids = self.tensors(number), self._ids(number)
            for image, (id, size) in enumerate(zip(ids, tensors["sizes"].tolist(), strict=True)):
                here = tensors["images"] == image
                yield ImageSamples(
                    id,
                    (size[0], size[1]),
                    tensors["positions"][here],
                    tensors["labels"][here],
                    tensors["features"][here],
                )
