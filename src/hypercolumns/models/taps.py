"""What a tap is: a map of activations that knows where its cells are centred in the image."""

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor


class CellGrid(Protocol):
    """Where the cells of a map lie along one axis. Pixel coordinates: the centre of the first pixel is 0."""

    def centres(self, cells: int, size: int) -> Tensor:
        """The pixel coordinates of the centres of a map's cells, (cells,) float64 and rising, for `size` pixels."""
        ...


@dataclass(frozen=True)
class RegularGrid:
    """Cells at equal distances: cell k is centred at `offset + stride * k`, for images of any size.

    `rf_extent` is how many pixels before and after its centre a cell depends on; None: on all of the image.
    """

    stride: float
    offset: float
    rf_extent: tuple[float, float] | None = None

    def centres(self, cells: int, size: int) -> Tensor:
        """See `CellGrid`."""
        return self.offset + self.stride * torch.arange(cells, dtype=torch.float64)


@dataclass(frozen=True)
class Tap:
    """A place where a backbone is tapped: its channels, and its geometry along y and along x.

    `is_global` is true of maps of the image as a whole: a window of a large image takes all of their cells.
    """

    name: str
    channels: int
    axes: tuple[CellGrid, CellGrid]
    is_global: bool = False
