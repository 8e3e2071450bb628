"""Context taps: taps whose maps are computed from the deepest map, or from the positions of the pixels.

The deepest map is the map of the last tapped module. These names are allowed in a backbone's argument `context`, and in
its argument `taps` after the modules:

- `pyramid:n`: the means of n x n parts of the deepest map (He et al., arXiv:1406.4729; Zhao et al., arXiv:1612.01105);
- `local_mean:n`: the mean of the n x n cells around each cell of the deepest map (Mostajabi et al., arXiv:1412.0774);
- `coordinates`: the normalised y and x of a pixel, from 0 to 1.

The n x n parts of a crop are smaller than the n x n parts of the whole image. If a model is trained on crops
(`augment.crop`), the parts of its pyramid are therefore smaller in training than in prediction.
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

Count = Callable[[int], int]  # from an image's pixels along an axis to a map's cells along that axis


@dataclass(frozen=True)
class ContextTap(ABC):
    """A tap whose map is computed from the deepest map or from the positions of the pixels.

    Attributes:
        name: the name in a backbone's `taps` or `context`.
        pattern: a regular expression for the names of such taps. Its groups match numbers, which the constructor takes
            after the name.
        is_global: see `Tap`.
        from_deepest: whether the map is computed from the deepest map.
    """

    name: str
    pattern: ClassVar[str]
    is_global: ClassVar[bool] = True
    from_deepest: ClassVar[bool] = True

    @abstractmethod
    def tap(self, deepest: Tap, counts: tuple[Count, Count]) -> Tap:
        """Describe the map as a tap.

        Args:
            deepest: the tap of the deepest map.
            counts: how many cells the deepest map has along y and along x, as functions of the image's size.
        """
        ...

    @abstractmethod
    def __call__(self, deepest: Tensor, size: tuple[int, int], boxes: Tensor) -> Tensor:
        """Compute the map.

        The map of a local tap is computed for windows of images too, so it must not depend on `size` and `boxes`.

        Args:
            deepest: (B, C, h, w), the deepest map. If `from_deepest` is false, only the batch size, device and dtype of
                this tensor may be used.
            size: (height, width) of the images.
            boxes: (B, 4) or (1, 4), crop boxes, see `hypercolumns.coordinates`.

        Returns:
            The map, (B, channels, rows, columns).
        """
        ...


@dataclass(frozen=True)
class PyramidMean(ContextTap):
    """The means of n x n equal parts of the deepest map; along an axis with fewer than n cells, each cell is a part.

    Attributes:
        side: n.
    """

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
    """Equal parts of a map along one axis. Each part is centred at the mean of the centres of the cells in it.

    Attributes:
        geometry: the centres of the map's cells along the axis.
        count: how many cells the map has along the axis, as a function of the image's pixels along that axis.
    """

    geometry: CellGrid
    count: Count

    def centres(self, cells: int, size: int) -> Tensor:
        """See `CellGrid`."""
        count = self.count(size)
        centres = self.geometry.centres(count, size)
        if torch.compiler.is_exporting():
            return mean_matrix(count, cells) @ centres
        return F.adaptive_avg_pool1d(centres[None], cells)[0]  # as the map is pooled


def mean_matrix(length: int, parts: int) -> Tensor:
    """Return `adaptive_avg_pool1d` over an axis of `length` cells as a matrix (parts, length), float64.

    With fewer cells than parts, each cell is a part, and the last cell fills the remaining parts.
    """
    part = torch.arange(parts)[:, None].clamp(max=length - 1)
    count = part[-1] + 1
    cells = torch.arange(length)
    starts, stops = part * length // count, (part * length + length + count - 1) // count
    inside = ((starts <= cells) & (cells < stops)).double()
    return inside / inside.sum(1, keepdim=True)


@dataclass(frozen=True)
class LocalMean(ContextTap):
    """The mean of the n x n cells around each cell of the deepest map; cells beyond the border are left out.

    Attributes:
        side: n, odd.
    """

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
    """The normalised coordinates at the corners of the image, as 2 x 2 cells.

    Bilinear interpolation between the corners gives the coordinates of every pixel.
    """

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
    """Two cells along one axis, centred at both edges of the image."""

    def centres(self, cells: int, size: int) -> Tensor:
        """See `CellGrid`."""
        return _edges(size)


def _edges(size: int) -> Tensor:
    """Return the pixel coordinates of both edges of an axis, (2,) float64."""
    # `torch.tensor` would make the size a constant in an export.
    return torch.arange(2, dtype=torch.float64) * size - 0.5


KINDS: tuple[type[ContextTap], ...] = (PyramidMean, LocalMean, CoordinateMap)


def parse(name: object) -> ContextTap | None:
    """Create a context tap from its name.

    Args:
        name: such as `pyramid:6`, or the path of a module.

    Returns:
        The context tap; None for the path of a module.

    Raises:
        ArgumentError: for a name with a colon that is not a context tap.
    """
    for kind in KINDS:
        if match := re.fullmatch(kind.pattern, str(name)):
            return kind(str(name), *map(int, match.groups()))
    if ":" in str(name):  # no module's path contains a colon
        raise ArgumentError(
            f"taps or context names {name}, which is not a context tap; choose a name such as pyramid:6, local_mean:3 "
            f"(an odd number) or coordinates"
        )
    return None


def split_taps(taps: Sequence[str | Sequence[str]]) -> tuple[tuple[tuple[str, ...], ...], tuple[ContextTap, ...]]:
    """Separate the modules of a network from the context taps.

    Args:
        taps: paths of modules (a list for one tap of several modules), then names of context taps.

    Returns:
        The paths of each tap's modules, and the context taps, with the global ones last.

    Raises:
        ArgumentError: unless `taps` names modules first and then context taps, each context tap once.
    """
    groups = [(tap,) if isinstance(tap, str) else tuple(tap) for tap in taps]
    contexts = [parse(group[0]) if len(group) == 1 else None for group in groups]
    layers = tuple(group for group, context in zip(groups, contexts, strict=True) if context is None)
    if not layers or any(context is not None for context in contexts[: len(layers)]):
        raise ArgumentError(
            f"taps={[*taps]} must name modules of the network first, and then context taps, which are computed from "
            f"the last module's map"
        )
    names = [context.name for context in contexts if context is not None]
    if doubled := [name for name in names if names.count(name) > 1]:
        raise ArgumentError(f"taps and context name {doubled[0]} twice; name it once")
    named = [context for context in contexts if context is not None]
    return layers, tuple(sorted(named, key=lambda context: context.is_global))


def check_context(names: Sequence[str] | None) -> Sequence[str]:
    """Return the names unchanged, or () for None; raise ArgumentError unless they are a list of context taps."""
    names = () if names is None else names
    if isinstance(names, str) or not isinstance(names, Sequence) or any(parse(name) is None for name in names):
        raise ArgumentError(f"context={names} must be a list of context taps, such as [pyramid:6,local_mean:3]")
    return names
