"""Taps: the feature maps of a backbone, and where their cells are centred in the image."""

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor


class CellGrid(Protocol):
    """The centres of a map's cells along one axis, in pixels of the image; 0 is the centre of the first pixel."""

    def centres(self, cells: int, size: int) -> Tensor:
        """Return the centres (cells,) float64, rising, for an image of `size` pixels along the axis."""
        ...


@dataclass(frozen=True)
class RegularGrid:
    """Equally spaced cells along one axis: cell k is centred at `offset + stride * k`, for images of any size.

    Attributes:
        stride: the distance in pixels between the centres of neighbouring cells.
        offset: the centre of the first cell, in pixels.
        rf_extent: (before, after), how many pixels a cell's receptive field reaches before and after the cell's centre;
            None: the receptive field may span the whole image.
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
        name: the path of the tap's first module, or the name of the context tap.
        channels: the number of channels of the map.
        axes: the centres of the map's cells along y and along x.
        is_global: whether the map describes the image as a whole. If so, each window of a large image uses all cells of
            the map, and not only the cells near the window.
    """

    name: str
    channels: int
    axes: tuple[CellGrid, CellGrid]
    is_global: bool = False
