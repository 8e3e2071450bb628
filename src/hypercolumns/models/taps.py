"""Taps: the feature maps of a backbone, and where their cells are centred in the image."""

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor


class CellGrid(Protocol):
    """A rule for the centres of a map's cells along one axis, in pixels of the image.

    The coordinate 0 is the centre of the first pixel.
    """

    def centres(self, cells: int, size: int) -> Tensor:
        """Return the centres of the cells of a map along the axis, in pixels of the image.

        Args:
            cells: the number of cells of the map along the axis.
            size: the number of pixels of the image along the axis.

        Returns:
            (cells,) float64, rising.
        """
        ...


@dataclass(frozen=True)
class RegularGrid:
    """Equally spaced cells along one axis: cell k is centred at pixel `offset + stride * k`, in images of any size.

    Attributes:
        stride: the distance between the centres of neighbouring cells, in pixels.
        offset: the centre of the first cell, in pixels; 0 is the centre of the first pixel.
        rf_extent: (before, after), how far a cell's receptive field reaches before and after the cell's centre, in
            pixels; None: the receptive field may span the whole image.
    """

    stride: float
    offset: float
    rf_extent: tuple[float, float] | None = None

    def centres(self, cells: int, size: int) -> Tensor:
        """Return the centres (cells,) float64 of the first `cells` cells, in pixels; they do not depend on `size`."""
        return self.offset + self.stride * torch.arange(cells, dtype=torch.float64)


@dataclass(frozen=True)
class Tap:
    """One feature map of a backbone.

    Attributes:
        name: the path of the tap's first module in the network, or the name of the context tap.
        channels: the number of channels of the map.
        axes: (along y, along x), the rules for the centres of the map's cells.
        is_global: whether the map describes the image as a whole. If so, each window of a large image uses all cells of
            the map. Otherwise, a window uses only the cells near the window.
        path_spread: how far apart, in pixels, the paths are centred that join in the map. `axes` give the mean of their
            centres, and the weights of the network may prefer any of them. It is 0 in most networks.
    """

    name: str
    channels: int
    axes: tuple[CellGrid, CellGrid]
    is_global: bool = False
    path_spread: float = 0.0
