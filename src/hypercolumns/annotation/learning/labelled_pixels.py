"""A bounded sample of labelled pixels with their hypercolumns, balanced over classes and images."""

from collections.abc import Iterator

import torch
from torch import Tensor

from hypercolumns.runtime import randomness
from hypercolumns.samplers.quotas import allocate_evenly


class LabelledPixels:
    """Labelled pixels with their hypercolumns. If there are too many, the largest groups lose pixels at random.

    A group holds the pixels of one class in one image. The class with the most pixels loses pixels first and, in this
    class, the image with the most pixels.

    Args:
        channels: D, the length of a hypercolumn.
        max_samples: the number of pixels to hold at most.
        seed: the seed of the random choices.

    Attributes:
        count: n, the number of pixels held.
        table: the hypercolumns of the pixels, and room for more.
    """

    def __init__(self, channels: int, max_samples: int, seed: int) -> None:
        self.max_samples, self.count = max_samples, 0
        self._generator = randomness.generator(seed, "labelled pixels")
        self.table = torch.empty(0, channels, dtype=torch.float16)
        self._labels, self._images, self._pixels = (torch.empty(0, dtype=torch.int64) for _ in range(3))

    @property
    def hypercolumns(self) -> Tensor:
        """(n, D) float16."""
        return self.table[: self.count]

    @property
    def labels(self) -> Tensor:
        """(n,) int64, the class indices."""
        return self._labels[: self.count]

    @property
    def images(self) -> Tensor:
        """(n,) int64, the numbers of the images."""
        return self._images[: self.count]

    @property
    def pixels(self) -> Tensor:
        """(n,) int64, the numbers of the pixels in their images."""
        return self._pixels[: self.count]

    def choose(self, pixels: Tensor) -> Tensor:
        """Return at most an eighth of `max_samples` of the pixels (N,), chosen at random."""
        most = max(self.max_samples // 8, 1)
        if len(pixels) <= most:
            return pixels
        return pixels[torch.randperm(len(pixels), generator=self._generator)[:most].sort().values]

    def add(self, image: int, pixels: Tensor, label: int, hypercolumns: Tensor) -> None:
        """Add pixels of an image. None of them may be held already.

        Args:
            image: the number of the image.
            pixels: (N,) int64, the numbers of the pixels in the image, N being at most `max_samples`.
            label: the class index of the pixels.
            hypercolumns: (N, D).
        """
        self._reserve(self.count + len(pixels))
        new = slice(self.count, self.count + len(pixels))
        limit = torch.finfo(self.table.dtype).max
        self.table[new] = hypercolumns.clamp(-limit, limit).to(self.table.dtype)
        self._labels[new], self._images[new], self._pixels[new] = label, image, pixels
        self.count = new.stop
        if self.count > self.max_samples:
            self._keep(self._balanced(self.count - self.max_samples))

    def forget(self, image: int, pixels: Tensor | None = None) -> None:
        """Forget pixels of an image, if they are held.

        Args:
            image: the number of the image.
            pixels: (N,) int64, the numbers of the pixels; None: all pixels of the image.
        """
        drop = self.images == image
        if pixels is not None:
            drop &= torch.isin(self.pixels, pixels)
        if drop.any():
            self._keep(~drop)

    def _balanced(self, excess: int) -> Tensor:
        """Return which of the pixels (n,) remain if the largest groups lose `excess` pixels."""
        keep = torch.ones(self.count, dtype=torch.bool)
        for of_class, fewer in _losing(self.labels, torch.arange(self.count), excess):
            for group, lost in _losing(self.images, of_class, fewer):
                keep[group[torch.randperm(len(group), generator=self._generator)[:lost]]] = False
        return keep

    def _keep(self, kept: Tensor) -> None:
        """Forget all pixels but those where `kept` (n,) is true.

        The last rows of the tables move to the places of those that leave, so that no more rows are copied than leave.
        """
        count = int(kept.sum())
        free, moved = (~kept[:count]).nonzero().flatten(), count + kept[count:].nonzero().flatten()
        for table in (self.table, self._labels, self._images, self._pixels):
            table[free] = table[moved]
        self.count = count

    def _reserve(self, rows: int) -> None:
        """Make room for a number of pixels; the tables double, so that additions take little time each."""
        if rows <= len(self._labels):
            return
        size = max(rows, min(2 * len(self._labels), self.max_samples), 256)
        for name in ("table", "_labels", "_images", "_pixels"):
            table: Tensor = getattr(self, name)
            larger = table.new_empty(size, *table.shape[1:])
            larger[: self.count] = table[: self.count]
            setattr(self, name, larger)


def _losing(keys: Tensor, pixels: Tensor, excess: int) -> Iterator[tuple[Tensor, int]]:
    """Yield the largest groups of some pixels with equal keys, and how many pixels each of them loses.

    Args:
        keys: (n,), the keys of all pixels.
        pixels: (m,), some of the pixels.
        excess: the number of pixels to lose in all.

    Yields:
        The pixels (k,) of a group, and a number from 1 to k.
    """
    groups, sizes = keys[pixels].unique(return_counts=True)
    kept = allocate_evenly(sizes.tolist(), int(sizes.sum()) - excess)
    lost = sizes - torch.tensor(kept)
    for number in lost.nonzero().flatten().tolist():
        yield pixels[keys[pixels] == groups[number]], int(lost[number])
