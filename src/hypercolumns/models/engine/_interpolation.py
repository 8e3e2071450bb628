"""Interpolate maps with many channels bilinearly, by weighted sums of cells.

`embedding_bag` computes weighted sums of the rows of a table as fast as the memory can be read. It is several times
faster than `interpolate` or products with interpolation matrices. Torch's own backward pass of `embedding_bag` is made
for word embeddings, not for pixels. The backward pass in this module therefore calls `embedding_bag` too: it
computes weighted sums of the pixels' gradients, first along x and then along y.

Shapes: a grid consists of all cells of a map. A table (B, T, C) holds the values of B images in the T cells of one
or more grids. The grids follow one another, and the cells of each grid are in row-major order.
"""

import itertools
from collections.abc import Sequence
from functools import cached_property
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from hypercolumns.models.alignment import bilinear_neighbours


class CellCentres(NamedTuple):
    """The centres of a map's cells, in pixels of the image.

    Attributes:
        rows: (h,) float64, rising: the y of each row of cells.
        columns: (w,) float64, rising: the x of each column of cells.
    """

    rows: Tensor
    columns: Tensor


class Neighbours(NamedTuple):
    """The cells of a map between which targets lie, along one axis. The targets are pixels, or cells of a finer map.

    Attributes:
        low: (n,) int64, not falling: the first cell of each of the n targets.
        high: (n,) int64, not falling: the second cell of each target.
        weight: (n,) float64, in [0, 1]: the weight of the second cell.
        cells: the number of cells along the axis.
    """

    low: Tensor
    high: Tensor
    weight: Tensor
    cells: int

    def crop(self, targets: slice) -> tuple[slice, "Neighbours"]:
        """Select some targets; return the slice of the cells between which they lie, and the neighbours among these."""
        low, high = self.low[targets], self.high[targets]
        used = slice(int(low[0]), int(high[-1]) + 1)
        return used, Neighbours(low - used.start, high - used.start, self.weight[targets], used.stop - used.start)


class GridNeighbours(NamedTuple):
    """The cells of a map between which the targets of a rectangle lie.

    Attributes:
        rows: along y, for the rectangle's rows.
        columns: along x, for the rectangle's columns.
    """

    rows: Neighbours
    columns: Neighbours

    @property
    def cells(self) -> int:
        """The number of cells of the map."""
        return self.rows.cells * self.columns.cells


def find_neighbours(targets: CellCentres, centres: CellCentres) -> GridNeighbours:
    """Find the cells of a map between which the targets of a rectangle lie.

    Args:
        targets: the y of the rectangle's rows and the x of its columns, rising, in pixels of the image.
        centres: the centres of the map's cells.
    """
    along = zip(targets, centres, strict=True)
    rows, columns = (Neighbours(*bilinear_neighbours(at, cells), len(cells)) for at, cells in along)
    return GridNeighbours(rows, columns)


class Interpolation:
    """Interpolate the values of one or more grids at the pixels of a rectangle, and sum the results over the grids.

    Args:
        grids: for each grid, the cells between which the rectangle's pixels lie. The order is that of the tables.
        like: a tensor with the device and dtype of the tables.
    """

    def __init__(self, grids: Sequence[GridNeighbours], like: Tensor) -> None:
        self.grids = grids
        self._device = like.device
        self._dtype = torch.float64 if like.dtype == torch.float64 else torch.float32
        # Cell (i, j) of a grid with w columns is row `first + i * w + j` of the table, if `first` is the grid's first
        # row there. Each pixel is interpolated from four cells of each grid.
        index: tuple[list[Tensor], list[Tensor]] = [], []
        weight: tuple[list[Tensor], list[Tensor]] = [], []
        for (y, x), first in zip(grids, self._firsts, strict=True):
            top, bottom = (first + line * x.cells for line in (y.low, y.high))
            index[0].extend((top, top, bottom, bottom))
            weight[0].extend((1 - y.weight, 1 - y.weight, y.weight, y.weight))
            index[1].extend((x.low, x.high, x.low, x.high))
            weight[1].extend((1 - x.weight, x.weight, 1 - x.weight, x.weight))
        self._index = [torch.stack(parts, dim=1).to(self._device) for parts in index]
        self._weight = [torch.stack(parts, dim=1).to(self._dtype).to(self._device) for parts in weight]

    @property
    def height(self) -> int:
        """The number of rows of the rectangle."""
        return len(self._index[0])

    def at(self, table: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
        """Interpolate at some pixels of the rectangle, and sum the results over the grids.

        Args:
            table: (B, T, C), the values of the grids' cells.
            rows: (N,) int64, the indices of the pixels' rows in the rectangle.
            columns: (N,) int64, the indices of the pixels' columns in the rectangle.

        Returns:
            (B, N, C).
        """
        index = self._index[0][rows] + self._index[1][columns]
        return _weighted_sums(table, index, self._weight[0][rows] * self._weight[1][columns])

    def band(self, table: Tensor, rows: slice) -> Tensor:
        """Interpolate at all pixels of some rows of the rectangle, and sum the results over the grids.

        Args:
            table: (B, T, C), the values of the grids' cells.
            rows: the n rows, as a slice of the rectangle's rows.

        Returns:
            (B, n, W, C).
        """
        index = self._index[0][rows, None] + self._index[1]
        weight = self._weight[0][rows, None] * self._weight[1]
        sums = _weighted_sums(table, index.flatten(0, 1), weight.flatten(0, 1))
        return sums.view(len(table), *index.shape[:2], table.shape[-1])

    def add_gradient(self, total: Tensor, gradient: Tensor, rows: slice) -> None:
        """Compute the gradient of the table from the gradient of some rows of pixels, and add it to a total.

        Args:
            total: (B, T, C), the total. The gradient of the table is added to it in place.
            gradient: (B, n, W, C), the gradient of the interpolated values at all pixels of n rows of the rectangle.
            rows: these n rows, as a slice of the rectangle's rows.
        """
        batch, height, width, channels = gradient.shape
        lines = self._across.sum(gradient.reshape(batch * height, width, channels))
        lines = lines.view(batch, height, -1, channels)
        left = 0
        for (y, x), first in zip(self.grids, self._firsts, strict=True):
            part = lines[:, :, left : left + x.cells].reshape(batch, height, x.cells * channels)
            used, neighbours = y.crop(rows)
            cells = _Transposed([neighbours], self._device, self._dtype).sum(part).view(batch, -1, channels)
            total[:, first + used.start * x.cells : first + used.stop * x.cells].add_(cells)
            left += x.cells

    @property
    def _firsts(self) -> list[int]:
        """For each grid, the index of the grid's first cell in the table."""
        sizes = [grid.cells for grid in self.grids]
        return [sum(sizes[:number]) for number, _ in enumerate(sizes)]

    @cached_property
    def _across(self) -> "_Transposed":
        """The transpose of the interpolation along x, from one row of pixels to one row of cells of each grid."""
        return _Transposed([x for _, x in self.grids], self._device, self._dtype)


def _weighted_sums(table: Tensor, index: Tensor, weight: Tensor) -> Tensor:
    """Compute weighted sums of the rows of a table.

    Args:
        table: (B, T, C).
        index: (N, n) int64, the n rows of the table that are summed for each result.
        weight: (N, n), the weights of these rows.

    Returns:
        (B, N, C).
    """
    batch, cells, channels = table.shape
    table = table.detach()  # torch's own gradient is not needed, and preparing it takes time
    if batch > 1:
        first = torch.arange(0, batch * cells, cells, device=table.device)
        index = (index + first[:, None, None]).flatten(0, 1)
        weight = weight.expand(batch, *weight.shape).flatten(0, 1)
    sums = F.embedding_bag(index, table.reshape(-1, channels), per_sample_weights=weight.to(table.dtype), mode="sum")
    return sums.view(batch, -1, channels)


class _Transposed:
    """The transpose of the linear interpolation of one or more grids along one axis.

    Args:
        grids: for each grid, the cells between which the n targets lie.
        device: the device of the tensors that are summed.
        dtype: the dtype of the weights.
    """

    def __init__(self, grids: Sequence[Neighbours], device: torch.device, dtype: torch.dtype) -> None:
        firsts = itertools.accumulate([0, *(grid.cells for grid in grids[:-1])])
        cells = torch.cat([first + line for first, grid in zip(firsts, grids, strict=True) for line in grid[:2]])
        targets = torch.arange(len(grids[0].low)).repeat(2 * len(grids))
        weights = torch.cat([part for grid in grids for part in (1 - grid.weight, grid.weight)])
        used = weights.nonzero().flatten()
        order = used[cells[used].argsort(stable=True)]
        counts = cells[used].bincount(minlength=sum(grid.cells for grid in grids))
        self.targets = targets[order].to(device)
        self.starts = (counts.cumsum(0) - counts).to(device)
        self.weights = weights[order].to(dtype).to(device)

    def sum(self, x: Tensor) -> Tensor:
        """Sum the values of the targets for each cell: from `x` (N, n, C) to (N, cells of all grids, C)."""
        copies, targets, channels = x.shape
        copy = torch.arange(copies, device=x.device)[:, None]
        return F.embedding_bag(
            (self.targets + copy * targets).flatten(),
            x.reshape(-1, channels),
            (self.starts + copy * len(self.targets)).flatten(),
            per_sample_weights=self.weights.to(x.dtype).repeat(copies),
            mode="sum",
        ).view(copies, -1, channels)
