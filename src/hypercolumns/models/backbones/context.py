"""Context taps: maps made from the deepest map, or from where an image's pixels are. Taps like the others.

The deepest map is that of the last layer that is tapped. In a backbone's `context`, or in its `taps` after the layers:

- `pyramid:n` the means of n x n parts of the deepest map (He et al., arXiv:1406.4729; Zhao et al., arXiv:1612.01105);
- `local_mean:n` the mean of the n x n cells around each cell of it (Mostajabi et al., arXiv:1412.0774);
- `coordinates` how far down and across the image a pixel is, from 0 to 1.

The parts of a crop are smaller than those of the image that it is from: a model that is trained on crops
(`augment.crop`) sees a pyramid of other scales than in prediction.
"""

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from hypercolumns.coordinates import normalised_coordinates
from hypercolumns.errors import ArgumentError
from hypercolumns.models.taps import CellGrid, RegularGrid, Tap

Count = Callable[[int], int]  # of cells along an axis of so many pixels


@dataclass(frozen=True)
class ContextTap(ABC):
    """A context tap.

    Attributes:
        name: as in a backbone's `taps`.
        pattern: of its names, a regular expression; its groups are numbers, which follow the name in the constructor.
        is_global: see `Tap`.
        from_deepest: whether it is made from the deepest map.
    """

    name: str
    pattern: ClassVar[str]
    is_global: ClassVar[bool] = True
    from_deepest: ClassVar[bool] = True

    @abstractmethod
    def tap(self, deepest: Tap, counts: tuple[Count, Count]) -> Tap:
        """What it is above the deepest tap, which has so many cells along y and x of an image."""
        ...

    @abstractmethod
    def __call__(self, deepest: Tensor, size: tuple[int, int], boxes: Tensor) -> Tensor:
        """Its map, of the deepest one (B, C, h, w) of images of `size` = (height, width), in boxes (see `coordinates`).

        Where it is not `is_global`, these may be windows of images: it must not ask where they lie.
        """
        ...


@dataclass(frozen=True)
class PyramidMean(ContextTap):
    """The means of n x n equal parts of the deepest map, or of its single cells where it has fewer."""

    side: int
    pattern: ClassVar[str] = r"pyramid:([1-9]\d*)"

    def tap(self, deepest: Tap, counts: tuple[Count, Count]) -> Tap:
        """See `ContextTap`."""
        along_y, along_x = (PooledGrid(axis, count) for axis, count in zip(deepest.axes, counts, strict=True))
        return Tap(self.name, deepest.channels, (along_y, along_x), is_global=True)

    def __call__(self, deepest: Tensor, size: tuple[int, int], boxes: Tensor) -> Tensor:
        """See `ContextTap`."""
        height, width = deepest.shape[-2:]
        if torch.compiler.is_exporting():
            down, across = (mean_matrix(length, self.side).to(deepest) for length in (height, width))
            return down @ deepest @ across.T
        return F.adaptive_avg_pool2d(deepest, (min(self.side, height), min(self.side, width)))


@dataclass(frozen=True)
class PooledGrid:
    """Equal parts of an axis of a map: each is centred at the mean of its cells' centres."""

    geometry: CellGrid
    count: Count

    def centres(self, cells: int, size: int) -> Tensor:
        """See `CellGrid`."""
        count = self.count(size)
        centres = self.geometry.centres(count, size)
        if torch.compiler.is_exporting():
            return mean_matrix(count, cells) @ centres
        return F.adaptive_avg_pool1d(centres[None], cells)[0]  # as the map itself


def mean_matrix(length: int, parts: int) -> Tensor:
    """What `adaptive_avg_pool1d` does to an axis of any `length`, as a matrix (parts, length), float64.

    Where there are fewer cells than parts, each is a part, and the last one is the rest of them too.
    """
    part = torch.arange(parts)[:, None].clamp(max=length - 1)
    count = part[-1] + 1
    cells = torch.arange(length)
    starts, stops = part * length // count, (part * length + length + count - 1) // count
    inside = ((starts <= cells) & (cells < stops)).double()
    return inside / inside.sum(1, keepdim=True)


@dataclass(frozen=True)
class LocalMean(ContextTap):
    """The mean of the n x n cells around each cell of the deepest map, those of them that there are."""

    side: int
    pattern: ClassVar[str] = r"local_mean:([3579]|[1-9]\d*[13579])"
    is_global: ClassVar[bool] = False

    def tap(self, deepest: Tap, counts: tuple[Count, Count]) -> Tap:
        """See `ContextTap`."""
        along_y, along_x = (self._widened(axis) for axis in deepest.axes)
        return Tap(self.name, deepest.channels, (along_y, along_x))

    def __call__(self, deepest: Tensor, size: tuple[int, int], boxes: Tensor) -> Tensor:
        """See `ContextTap`."""
        return F.avg_pool2d(deepest, self.side, stride=1, padding=self.side // 2, count_include_pad=False)

    def _widened(self, axis: CellGrid) -> CellGrid:
        if not isinstance(axis, RegularGrid) or axis.rf_extent is None:
            return axis
        more = self.side // 2 * axis.stride
        return RegularGrid(axis.stride, axis.offset, (axis.rf_extent[0] + more, axis.rf_extent[1] + more))


@dataclass(frozen=True)
class CoordinateMap(ContextTap):
    """2 x 2 cells at the corners of the image: between them bilinear interpolation is the coordinate itself."""

    pattern: ClassVar[str] = "coordinates"
    from_deepest: ClassVar[bool] = False

    def tap(self, deepest: Tap, counts: tuple[Count, Count]) -> Tap:
        """See `ContextTap`."""
        return Tap(self.name, 2, (ImageEdges(), ImageEdges()), is_global=True)

    def __call__(self, deepest: Tensor, size: tuple[int, int], boxes: Tensor) -> Tensor:
        """See `ContextTap`."""
        rows, columns = (_edges(side).float() for side in size)
        y, x = normalised_coordinates(rows[None, :, None], columns[None, None], boxes)
        cells = torch.stack(torch.broadcast_tensors(y, x), dim=1).expand(deepest.shape[0], -1, -1, -1)
        return cells.to(deepest)


@dataclass(frozen=True)
class ImageEdges:
    """Two cells, at the edges of the image."""

    def centres(self, cells: int, size: int) -> Tensor:
        """See `CellGrid`."""
        return _edges(size)


def _edges(size: int) -> Tensor:
    """The pixel coordinates of both edges of an axis, (2,) float64; by `torch.tensor` an export would fix the size."""
    return torch.arange(2, dtype=torch.float64) * size - 0.5


KINDS: tuple[type[ContextTap], ...] = (PyramidMean, LocalMean, CoordinateMap)


def parse(name: object) -> ContextTap | None:
    """The context tap of that name; None if it is not one; raises ArgumentError if it nearly is."""
    for kind in KINDS:
        if found := re.fullmatch(kind.pattern, str(name)):
            return kind(str(name), *map(int, found.groups()))
    if ":" in str(name):  # which no module's path has
        raise ArgumentError(
            f"taps names {name}, which is no context tap; such are pyramid:6, local_mean:3 (odd) and coordinates"
        )
    return None


def split_taps(taps: Sequence[str | Sequence[str]]) -> tuple[tuple[tuple[str, ...], ...], tuple[ContextTap, ...]]:
    """The modules of each tap of a network, and the context taps, the global ones last.

    Raises:
        ArgumentError: unless `taps` names modules first and then context taps, each of these once.
    """
    groups = [(tap,) if isinstance(tap, str) else tuple(tap) for tap in taps]
    contexts = [parse(group[0]) if len(group) == 1 else None for group in groups]
    layers = tuple(group for group, one in zip(groups, contexts, strict=True) if one is None)
    if not layers or any(one is not None for one in contexts[: len(layers)]):
        raise ArgumentError(
            f"taps={[*taps]} must name modules of the network first, and then context taps, which are made from the "
            f"last of them"
        )
    names = [one.name for one in contexts if one is not None]
    if doubled := [name for name in names if names.count(name) > 1]:
        raise ArgumentError(f"taps and context name {doubled[0]} twice; name it once")
    return layers, tuple(sorted((one for one in contexts if one is not None), key=lambda one: one.is_global))


def check_context(names: Sequence[str] | None) -> Sequence[str]:
    """The names of context taps, none for None; raises ArgumentError unless it is a list of them."""
    names = () if names is None else names
    if isinstance(names, str) or not isinstance(names, Sequence) or any(parse(name) is None for name in names):
        raise ArgumentError(f"context={names} must be a list of context taps, such as [pyramid:6,local_mean:3]")
    return names
