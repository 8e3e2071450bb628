"""Context taps: taps whose maps are computed from the deepest map, or from the positions of the pixels.

The deepest map is the map of the last tap on modules of the network. A context tap has one of the following names. You
can list the name in a backbone's argument `context`, or in a backbone's argument `taps` after the modules:

- `pyramid:n`: the means of n x n parts of the deepest map (He et al., arXiv:1406.4729; Zhao et al., arXiv:1612.01105);
- `local_mean:n`: the mean of the n x n cells of the deepest map around each cell, for an odd n (Mostajabi et al.,
  arXiv:1412.0774);
- `coordinates`: the position (y, x) of a pixel in the image, from 0 at the top and left edges to 1 at the bottom and
  right edges.

The n x n parts of a crop are smaller than the n x n parts of the whole image. If a model is trained on crops
(`augment.crop`), the parts of its pyramid are therefore smaller in training than in prediction.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from hypercolumns.coordinates import ImageSize, full_image_box, normalised_coordinates
from hypercolumns.models.taps import CellGrid, RegularGrid, Tap

Count = Callable[[int], int]  # from the number of an image's pixels along an axis to the number of a map's cells


@dataclass(frozen=True)
class ContextTap(ABC):
    """A tap whose map is computed from the deepest map or from the positions of the pixels.

    Attributes:
        name: the name in a backbone's argument `taps` or `context`, such as `pyramid:6`.
        pattern: a regular expression that matches the names of all taps of the class. Its groups match whole numbers.
            The constructor takes these numbers as arguments after `name`.
        is_global: whether the map describes the image as a whole, see `Tap`.
        from_deepest: whether the map is computed from the deepest map. If not, it is computed from positions only.
    """

    name: str
    pattern: ClassVar[str]
    is_global: ClassVar[bool] = True
    from_deepest: ClassVar[bool] = True

    @abstractmethod
    def tap(self, deepest: Tap, counts: tuple[Count, Count]) -> Tap:
        """Describe the context tap's map: return its name, its channels and the centres of its cells as a `Tap`.

        Args:
            deepest: the tap of the deepest map.
            counts: two functions, for y and for x. Each returns how many cells the deepest map has along the axis,
                given how many pixels the image has along the axis.
        """
        ...

    @abstractmethod
    def size(self, deepest: tuple[int, int]) -> tuple[int, int]:
        """Return the size (rows, columns) of the context tap's map, from the size (h, w) of the deepest map."""
        ...

    @abstractmethod
    def __call__(self, deepest: Tensor, size: tuple[int, int], boxes: Tensor) -> Tensor:
        """Compute the context tap's map for a batch of images.

        If `is_global` is false, the images can be windows of larger images. In this case, the map must not depend on
        `size` or `boxes`.

        Args:
            deepest: (B, C, h, w), the deepest map. If `from_deepest` is false, only the batch size, device and dtype of
                this tensor may be used.
            size: (height, width) of the images in pixels.
            boxes: crop boxes, see `hypercolumns.coordinates`: (B, 4), or (1, 4) if all images have the same box.

        Returns:
            The map, (B, channels, rows, columns).
        """
        ...


@dataclass(frozen=True)
class PyramidMean(ContextTap):
    """The means of n x n parts of the deepest map.

    The parts have the same size, except for rounding to whole cells. Along an axis with fewer than n cells, each cell
    is a part.

    Attributes:
        side: n, the number of parts along each axis.
    """

    side: int
    pattern: ClassVar[str] = r"pyramid:([1-9]\d*)"

    def tap(self, deepest: Tap, counts: tuple[Count, Count]) -> Tap:
        """Describe the map of the means, see `ContextTap.tap`."""
        along_y, along_x = (PooledGrid(axis, count) for axis, count in zip(deepest.axes, counts, strict=True))
        return Tap(self.name, deepest.channels, (along_y, along_x), is_global=True)

    def size(self, deepest: tuple[int, int]) -> tuple[int, int]:
        """Return the number of parts along y and along x, see `ContextTap.size`."""
        return min(self.side, deepest[0]), min(self.side, deepest[1])

    def __call__(self, deepest: Tensor, size: tuple[int, int], boxes: Tensor) -> Tensor:
        """Average the deepest map over each of the parts. `ContextTap.__call__` explains the arguments."""
        height, width = deepest.shape[-2:]
        if torch.compiler.is_exporting():
            down, across = (mean_matrix(length, self.side).to(deepest) for length in (height, width))
            return down @ deepest @ across.T
        return F.adaptive_avg_pool2d(deepest, (min(self.side, height), min(self.side, width)))


@dataclass(frozen=True)
class PooledGrid:
    """The parts into which `PyramidMean` divides a map, along one axis.

    Each part is centred at the mean of the centres of the cells in the part.

    Attributes:
        geometry: the centres of the map's cells along the axis.
        count: returns how many cells the map has along the axis, given how many pixels the image has along the axis.
    """

    geometry: CellGrid
    count: Count

    def centres(self, cells: int, size: int) -> Tensor:
        """Return the centres (cells,) of the parts, in pixels, for an image of `size` pixels along the axis."""
        count = self.count(size)
        centres = self.geometry.centres(count, size)
        if torch.compiler.is_exporting():
            return mean_matrix(count, cells) @ centres
        return F.adaptive_avg_pool1d(centres[None], cells)[0]  # the map itself is pooled in the same way


def mean_matrix(length: int, parts: int) -> Tensor:
    """Return the matrix (parts, length) float64 that averages `length` cells to `parts` parts.

    The parts are those of `adaptive_avg_pool1d`. If there are fewer cells than parts, each cell is a part, and all
    remaining parts repeat the last cell.
    """
    part = torch.arange(parts)[:, None].clamp(max=length - 1)
    count = part[-1] + 1
    cells = torch.arange(length)
    starts, stops = part * length // count, (part * length + length + count - 1) // count
    inside = ((starts <= cells) & (cells < stops)).double()
    return inside / inside.sum(1, keepdim=True)


@dataclass(frozen=True)
class LocalMean(ContextTap):
    """The mean of the n x n cells around each cell of the deepest map.

    Near the border of the map, the mean is taken over those of the n x n cells that lie inside the map.

    Attributes:
        side: n, an odd number.
    """

    side: int
    pattern: ClassVar[str] = r"local_mean:([3579]|[1-9]\d*[13579])"
    is_global: ClassVar[bool] = False

    def tap(self, deepest: Tap, counts: tuple[Count, Count]) -> Tap:
        """Describe the averaged map: the cells of the deepest map, with larger receptive fields."""
        along_y, along_x = (self._widened(axis) for axis in deepest.axes)
        return Tap(self.name, deepest.channels, (along_y, along_x))

    def size(self, deepest: tuple[int, int]) -> tuple[int, int]:
        """Return the size of the deepest map, see `ContextTap.size`."""
        return deepest

    def __call__(self, deepest: Tensor, size: tuple[int, int], boxes: Tensor) -> Tensor:
        """Average the deepest map over `side` x `side` cells around each cell, see `ContextTap.__call__`."""
        return F.avg_pool2d(deepest, self.side, stride=1, padding=self.side // 2, count_include_pad=False)

    def _widened(self, axis: CellGrid) -> CellGrid:
        if not isinstance(axis, RegularGrid) or axis.rf_extent is None:
            return axis
        more = self.side // 2 * axis.stride
        return RegularGrid(axis.stride, axis.offset, (axis.rf_extent[0] + more, axis.rf_extent[1] + more))


@dataclass(frozen=True)
class CoordinateMap(ContextTap):
    """The positions of the image's four corners, as a map of 2 x 2 cells with the channels y and x.

    Bilinear interpolation between the corners gives the position of every pixel. Positions run from 0 to 1 over the
    image. If the image is a crop, they run from 0 to 1 over the whole image.
    """

    pattern: ClassVar[str] = "coordinates"
    from_deepest: ClassVar[bool] = False

    def tap(self, deepest: Tap, counts: tuple[Count, Count]) -> Tap:
        """Describe the map of the corners' positions, see `ContextTap.tap`."""
        return Tap(self.name, 2, (ImageEdges(), ImageEdges()), is_global=True)

    def size(self, deepest: tuple[int, int]) -> tuple[int, int]:
        """Return (2, 2), see `ContextTap.size`."""
        return 2, 2

    def __call__(self, deepest: Tensor, size: tuple[int, int], boxes: Tensor) -> Tensor:
        """Compute the positions of the images' corners from `size` and `boxes`, see `ContextTap.__call__`."""
        rows, columns = (_edges(side).float() for side in size)
        y, x = normalised_coordinates(rows[None, :, None], columns[None, None], boxes)
        cells = torch.stack(torch.broadcast_tensors(y, x), dim=1).expand(deepest.shape[0], -1, -1, -1)
        return cells.to(deepest)


@dataclass(frozen=True)
class ImageEdges:
    """Two cells along one axis, one centred at the image's top or left edge, the other at the opposite edge."""

    def centres(self, cells: int, size: int) -> Tensor:
        """Return the coordinates (2,) of both edges, in pixels, for an image of `size` pixels along the axis."""
        return _edges(size)


def _edges(size: int) -> Tensor:
    """Return the coordinates (2,) float64 of an image's edges along one axis, in pixels: -0.5 and `size` - 0.5."""
    # `torch.tensor` would make the size a constant in an exported model.
    return torch.arange(2, dtype=torch.float64) * size - 0.5


KINDS: tuple[type[ContextTap], ...] = (PyramidMean, LocalMean, CoordinateMap)


def context_maps(
    contexts: Iterable[ContextTap], deepest: Tensor, size: ImageSize, boxes: Tensor | None = None
) -> list[Tensor]:
    """Compute the maps of context taps.

    Args:
        contexts: the context taps.
        deepest: (B, C, h, w), the deepest map. For a global tap, it must be that of the whole images: a window of it is
            not enough.
        size: (height, width) of the images in pixels.
        boxes: (B, 4), crop boxes, see `hypercolumns.coordinates`; None: the images are not crops.

    Returns:
        One map (B, C_l, h_l, w_l) for each context tap.
    """
    boxes = full_image_box(size) if boxes is None else boxes
    return [context(deepest, size, boxes) for context in contexts]
