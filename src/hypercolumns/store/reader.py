"""The reader of finished stores. It maps the shards' files into memory."""

import functools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from hypercolumns.coordinates import PixelCoordinates
from hypercolumns.errors import HypercolumnsError, StoreError
from hypercolumns.io.files import read_json
from hypercolumns.io.store_files import FINGERPRINT, INDEX
from hypercolumns.store.shard import (
    FORMAT,
    REPAIR,
    Fingerprint,
    ImageSamples,
    Shard,
)


def fingerprint_of(folder: Path) -> dict[str, Any] | None:
    """Read the fingerprint of a finished or unfinished store; return None if the folder has no readable fingerprint."""
    try:
        return read_json(folder / FINGERPRINT)
    except HypercolumnsError:
        return None


class Samples(NamedTuple):
    """A batch of samples.

    Attributes:
        features: (N, D) float16 hypercolumns.
        labels: (N,) int64 class indices.
        coordinates: the normalised coordinates y and x of the samples' pixels, (N,) float32 each. y is 0 at the top
            edge of the image and 1 at the bottom edge. x is 0 at the left edge and 1 at the right edge. If the
            coordinates were not requested, both have shape (0,).
    """

    features: Tensor
    labels: Tensor
    coordinates: PixelCoordinates


class SampleStore:
    """A finished store, opened for reading.

    Args:
        folder: the folder of the store.

    Attributes:
        folder: the folder of the store.
        fingerprint: the fingerprint of the store, a record of all that decides the store's content.
        index_entries: for each split, the list of its shards' descriptions from index.json, in the order of the shards.

    Raises:
        StoreError: if the folder holds no finished store, if the store has a format that this version of the program
            does not read, or if values in index.json are damaged.
        HypercolumnsError: if index.json can't be read as JSON.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        path = folder / INDEX
        if not path.is_file():
            raise StoreError(
                f"{folder} is not a finished store of samples (it has no {INDEX}); finish the store or make it again"
            )
        index = read_json(path)
        if index.get("format") != FORMAT:
            raise StoreError(
                f"{path} has format {index.get('format')}, but this version of the program reads format {FORMAT}; "
                f"make the store again"
            )
        try:
            self.fingerprint: dict[str, Any] = dict(index["fingerprint"])
            self.index_entries: dict[str, list[dict[str, Any]]] = dict(index["splits"].items())
            self._splits = {
                name: Split(folder, name, entries, self.fingerprint) for name, entries in self.index_entries.items()
            }
        except (AttributeError, IndexError, KeyError, TypeError, ValueError, ArithmeticError, RuntimeError) as error:
            raise StoreError(
                f"{path} is damaged ({error!r}); remove this file, then finish the store: this writes the file again"
            ) from error

    def split(self, name: str) -> "Split":
        """Return the split `name`, after checking that its files exist and that its shards have the right sizes.

        Raises:
            StoreError: if the store has no split with this name, if a file of the split is missing, or if a shard does
                not have the size that index.json states.
        """
        if name not in self._splits:
            raise StoreError(f"{self.folder / INDEX} lists no {name} split; make the store again with this split")
        self._splits[name].check()
        return self._splits[name]


class Split:
    """The samples of one split of a store, accessed by row number.

    A row is one sample. The rows of a split are numbered from 0, in the order of its shards. The memory use does not
    grow with the number of rows. A split can be pickled and sent to other processes: each process then maps the files
    into its own memory.

    Args:
        folder: the folder of the store.
        name: the name of the split.
        entries: the shards' descriptions from index.json, in the order of the shards.
        fingerprint: the fingerprint of the store.

    Attributes:
        shards: the shards, in the order of their numbers.
        counts: (S, C) int64 for S shards, the number of samples of each class in each shard. C - 1 is the highest class
            index that has samples, so C can be smaller than the number of classes.
        bytes: the total size of the shards' safetensors files, in bytes.
        channels: D, the number of channels of a hypercolumn.

    Raises:
        ValueError: if a shard's samples per class in index.json do not add up to its number of rows, or if two shards
            differ in their number of channels. A missing field, or one of the wrong type, raises another error.
            `SampleStore` turns all these errors into a StoreError.
    """

    def __init__(self, folder: Path, name: str, entries: Sequence[dict[str, Any]], fingerprint: Fingerprint) -> None:
        self.shards = [Shard(folder, name, number) for number in range(len(entries))]
        self.counts = torch.nn.utils.rnn.pad_sequence(
            [torch.tensor(entry["samples_per_class"], dtype=torch.int64) for entry in entries], batch_first=True
        )
        self.bytes = sum(int(entry["bytes"]) for entry in entries)
        self.channels = int(entries[0]["channels"])
        for entry in entries:
            if entry["rows"] != (total := sum(entry["samples_per_class"])):
                raise ValueError(f"{entry['shard']} has {entry['rows']} rows, but its samples_per_class sum to {total}")
            if entry["channels"] != self.channels:
                raise ValueError(f"{entry['shard']} has {entry['channels']} channels, the first shard {self.channels}")
        self._index_entries, self._fingerprint = entries, fingerprint
        self._starts = torch.tensor([0, *(int(entry["rows"]) for entry in entries)]).cumsum(0)
        self._maps: dict[int, dict[str, Tensor]] = {}

    def __getstate__(self) -> dict[str, Any]:
        """Return the state to pickle, without the memory maps: pickling would copy the content of the files."""
        return self.__dict__ | {"_maps": {}}

    def __len__(self) -> int:
        """Return the number of samples."""
        return int(self._starts[-1])

    def samples_per_class(self, classes: int) -> Tensor:
        """Count the split's samples of each class, (classes,) int64. `classes` is the number of classes."""
        return torch.nn.functional.pad(self.counts.sum(0), (0, classes - self.counts.shape[1]))

    def samples_per_image(self) -> Tensor:
        """Count the samples of each image of the split, (I,) int64, in the order of the images."""
        return torch.cat([self._rows_of_images(number) for number in range(len(self.shards))])

    def check(self) -> None:
        """Check that the split's shards and sidecars exist, and that each shard has the size stated in index.json.

        Raises:
            StoreError: if a shard or sidecar is missing, or if a shard has another size than index.json states.
        """
        for shard, entry in zip(self.shards, self._index_entries, strict=True):
            if not shard.sidecar.is_file():
                raise StoreError(f"{shard.sidecar} is missing; write the store again: this makes the shard again")
            size = shard.file.stat().st_size if shard.file.is_file() else 0
            if size != entry["bytes"]:
                raise StoreError(f"{shard.file} has {size} bytes, not the {entry['bytes']} listed in {INDEX}; {REPAIR}")

    def start(self, number: int) -> int:
        """Return the row number, in the split, of the first sample of shard `number`."""
        return int(self._starts[number])

    def tensors(self, number: int) -> dict[str, Tensor]:
        """Map the tensors of shard `number` into memory, and compare them with index.json.

        The numbers of rows and of channels, and the number of samples of each class, must be those in index.json. For
        the names and shapes of the tensors, see `Shard.load`.

        Raises:
            StoreError: if the shard can't be read, is damaged or does not agree with index.json.
        """
        if number not in self._maps:
            tensors, entry = self.shards[number].load(self._fingerprint), self._index_entries[number]
            if tensors["features"].shape != (entry["rows"], self.channels):
                raise self.shards[number].damage_error(
                    f"it does not hold the {entry['rows']} samples of {self.channels} channels listed in {INDEX}"
                )
            counts = tensors["labels"].bincount(minlength=self.counts.shape[1])
            if not torch.equal(counts, self.counts[number]):
                raise self.shards[number].damage_error(f"its class counts differ from those in {INDEX}")
            self._maps[number] = tensors
        return self._maps[number]

    def fetch(self, rows: Tensor, with_coordinates: bool = False) -> Samples:
        """Read samples by row number. Ascending rows are read fastest.

        Args:
            rows: (N,) int64 row numbers, in any order.
            with_coordinates: whether to compute the normalised coordinates of the samples' pixels, see `Samples`.

        Returns:
            The samples, in the order of `rows`.

        Raises:
            StoreError: if a shard can't be read, is damaged or does not agree with index.json.
        """
        if (rows.diff() < 0).any():
            ascending, order = rows.sort()
            back = order.argsort()
            samples = self.fetch(ascending, with_coordinates)
            coordinates = samples.coordinates
            if with_coordinates:
                coordinates = PixelCoordinates(*(values[back] for values in coordinates))
            return Samples(samples.features[back], samples.labels[back], coordinates)
        features = torch.empty(len(rows), self.channels, dtype=torch.float16)
        labels = torch.empty(len(rows), dtype=torch.uint8)
        counts = torch.searchsorted(rows, self._starts).diff()
        per_shard = counts.tolist()
        local = rows - torch.repeat_interleave(self._starts[:-1], counts)
        parts = zip(*(values.split(per_shard) for values in (local, features, labels)), strict=True)
        centres = [torch.empty(0, 2)]
        for number, (shard_rows, to_features, to_labels) in enumerate(parts):
            if per_shard[number]:
                tensors = self.tensors(number)
                torch.index_select(tensors["features"], 0, shard_rows, out=to_features)
                torch.index_select(tensors["labels"], 0, shard_rows, out=to_labels)
                if with_coordinates:
                    sizes = tensors["sizes"][self._images_of(number, shard_rows)]
                    centres.append((tensors["positions"][shard_rows] + 0.5) / sizes)
        return Samples(features, labels.long(), PixelCoordinates(*torch.cat(centres).unbind(1)))

    def origins(self, rows: Tensor) -> list[tuple[str, int, int]]:
        """Look up the pixel that each sample comes from.

        Args:
            rows: (N,) int64, the row numbers of the samples in the split.

        Returns:
            One tuple per sample, (image id, row of the pixel, column of the pixel), in the order of `rows`.
        """
        ids = functools.cache(lambda number: self._ids(number))
        origins = []
        numbers = torch.searchsorted(self._starts, rows, right=True) - 1
        for number, row in zip(numbers.tolist(), rows.tolist(), strict=True):
            tensors, local = self.tensors(number), row - self.start(number)
            y, x = tensors["positions"][local].tolist()
            origins.append((ids(number)[int(self._images_of(number, torch.tensor(local)))], y, x))
        return origins

    def _rows_of_images(self, number: int) -> Tensor:
        """Count the samples of each image of shard `number`, (I,) int64, in the order of the images."""
        return self._images_of(number, slice(None)).bincount(minlength=len(self.tensors(number)["sizes"]))

    def _images_of(self, number: int, rows: Tensor | slice) -> Tensor:
        """Look up which images samples of shard `number` come from: the images' numbers in the shard, (N,) int64.

        `rows` selects the N samples by their numbers in the shard. Samples and images are numbered from 0.
        """
        tensors = self.tensors(number)
        images = tensors["images"][rows].long()
        if ((images < 0) | (images >= len(tensors["sizes"]))).any():
            raise self.shards[number].damage_error("it has samples without an image")
        return images

    def _ids(self, number: int) -> list[str]:
        """Read the ids of the images of shard `number`, in the order of the images."""
        ids, images = self.shards[number].ids(), len(self.tensors(number)["sizes"])
        if len(ids) != images:
            sidecar = self.shards[number].sidecar
            raise StoreError(f"{sidecar} is damaged (it lists {len(ids)} images, its shard holds {images}); {REPAIR}")
        return ids

    def statistics(self) -> tuple[Tensor, Tensor]:
        """Compute the mean and the standard deviation of each channel over the split's samples, both (D,) float64."""
        sums, squares = torch.zeros(self.channels).double(), torch.zeros(self.channels).double()
        for number in range(len(self.shards)):
            sums += self.tensors(number)["sums"]
            squares += self.tensors(number)["squares"]
        mean = sums / len(self)
        return mean, (squares / len(self) - mean.square()).clamp(min=0).sqrt()

    def images(self) -> Iterator[ImageSamples]:
        """Yield the samples of each image of the split, in the order of the images in the store."""
        for number in range(len(self.shards)):
            tensors, ids = self.tensors(number), self._ids(number)
            for image, (id, size) in enumerate(zip(ids, tensors["sizes"].tolist(), strict=True)):
                in_image = tensors["images"] == image
                yield ImageSamples(
                    id,
                    (size[0], size[1]),
                    tensors["positions"][in_image],
                    tensors["labels"][in_image],
                    tensors["features"][in_image],
                )
