"""Taps: the feature maps of a backbone, and where their cells are centred in the image."""

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor


class CellGrid(Protocol):
    """The positions of a map's cells along one axis, in pixels; 0 is the centre of the first pixel."""

    def centres(self, cells: int, size: int) -> Tensor:
        """Return the cells' centres for an image of `size` pixels along the axis: (cells,) float64, rising."""
        ...


@dataclass(frozen=True)
class RegularGrid:
    """Cells at equal distances: cell k is centred at `offset + stride * k`, for images of any size.

    Attributes:
        stride: pixels from cell to cell.
        offset: the centre of the first cell, in pixels.
        rf_extent: how many pixels before and after its centre a cell depends on (the receptive field); None: a cell
            depends on the whole image.
    """

    stride: float
    offset: float
    rf_extent: tuple[float, float] | None = None

    def centres(self, cells: int, size: int) -> Tensor:
        """See `CellGrid`."""
        return self.offset + self.stride * torch.arange(cells, dtype=torch.float64)


@dataclass(frozen=True)
class Tap:
    """One feature map of a backbone.

    Attributes:
        name: the first module of the tap, or the name of a context tap.
        channels: of the map.
        axes: the positions of the map's cells along y and along x.
        is_global: whether the map describes the image as a whole. Every window of a large image uses all its cells.
    """

    name: str
    channels: int
    axes: tuple[CellGrid, CellGrid]
    is_global: bool = False
