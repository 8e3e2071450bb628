"""Interpolate maps with many channels bilinearly, by weighted sums of cells.

`embedding_bag` computes weighted sums of the rows of a table as fast as the memory can be read. It is several times
faster than `interpolate` or products with interpolation matrices. Torch's own backward pass of `embedding_bag` is made
for word embeddings, not for pixels. The backward pass in this module therefore calls `embedding_bag` too: it
computes weighted sums of the pixels' gradients, first along x and then along y.

Shapes: a grid consists of all cells of a map. A table (B, T, C) holds the values of B images in the T cells of one
or more grids. The grids follow one another, and the cells of each grid are in row-major order.
"""

from collections.abc import Sequence
from functools import cached_property
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from hypercolumns.models.alignment import bilinear_neighbours, cells_used, interpolation_matrix


class CellCentres(NamedTuple):
    """The centres of a map's cells, in pixels of the image.

    Attributes:
        rows: (h,) float64, rising: the y of each row of cells.
        columns: (w,) float64, rising: the x of each column of cells.
    """

    rows: Tensor
    columns: Tensor


class Interpolation:
    """Interpolate the values of one or more grids at pixels of a rectangle, and sum the results over the grids.

    Args:
        grids: the centres of each grid's cells, in the order of the grids in the tables.
        rows: (H,), the y of the rectangle's rows, in pixels of the image.
        columns: (W,), the x of the rectangle's columns, in pixels of the image.
        like: a tensor with the device and dtype of the tables.
    """

    def __init__(self, grids: Sequence[CellCentres], rows: Tensor, columns: Tensor, like: Tensor) -> None:
        self.grids, self.rows, self.columns = grids, rows, columns
        self._device = like.device
        self._dtype = torch.float64 if like.dtype == torch.float64 else torch.float32
        # Cell (i, j) of a grid with w columns is row `first + i * w + j` of the table, if `first` is the grid's first
        # row there. Each pixel is interpolated from four cells of each grid.
        index: tuple[list[Tensor], list[Tensor]] = [], []
        weight: tuple[list[Tensor], list[Tensor]] = [], []
        for grid, first in zip(grids, self._firsts, strict=True):
            top, bottom, down = bilinear_neighbours(rows, grid.rows)
            left, right, across = bilinear_neighbours(columns, grid.columns)
            top, bottom = (first + line * len(grid.columns) for line in (top, bottom))
            index[0].extend((top, top, bottom, bottom))
            weight[0].extend((1 - down, 1 - down, down, down))
            index[1].extend((left, right, left, right))
            weight[1].extend((1 - across, across, 1 - across, across))
        self._index = [torch.stack(parts, dim=1).to(self._device) for parts in index]
        self._weight = [torch.stack(parts, dim=1).to(self._dtype).to(self._device) for parts in weight]

    def __call__(self, table: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
        """Interpolate at some pixels of the rectangle, and sum the results over the grids.

        Args:
            table: (B, T, C), the values of the grids' cells.
            rows: int64, the indices of the pixels' rows in the rectangle.
            columns: int64, the indices of the pixels' columns in the rectangle; they broadcast with `rows`.

        Returns:
            (B, ..., C), where ... is the shape to which `rows` and `columns` broadcast.
        """
        batch, cells, channels = table.shape
        index = self._index[0][rows] + self._index[1][columns]
        weight = self._weight[0][rows] * self._weight[1][columns]
        *shape, corners = index.shape
        first = torch.arange(0, batch * cells, cells, device=table.device)
        return F.embedding_bag(
            (index.view(-1, corners) + first.view(-1, 1, 1) if batch > 1 else index).reshape(-1, corners),
            table.reshape(-1, channels),
            per_sample_weights=weight.to(table.dtype).expand(batch, *weight.shape).reshape(-1, corners),
            mode="sum",
        ).view(batch, *shape, channels)

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
        for grid, first in zip(self.grids, self._firsts, strict=True):
            width = len(grid.columns)
            part = lines[:, :, left : left + width].reshape(batch, height, width * channels)
            used = cells_used(self.rows[rows], grid.rows)
            matrix = interpolation_matrix(self.rows[rows], grid.rows)[:, used]
            cells = _SparseMatrix(matrix.T, self._device, self._dtype).sum(part).view(batch, -1, channels)
            total[:, first + used.start * width : first + used.stop * width] += cells
            left += width

    @property
    def _firsts(self) -> list[int]:
        """For each grid, the index of the grid's first cell in the table."""
        sizes = [len(grid.rows) * len(grid.columns) for grid in self.grids]
        return [sum(sizes[:number]) for number, _ in enumerate(sizes)]

    @cached_property
    def _across(self) -> "_SparseMatrix":
        """The transpose of the interpolation along x.

        It turns the gradient of one row of pixels into the gradient of one row of cells of each grid.
        """
        matrices = [interpolation_matrix(self.columns, grid.columns) for grid in self.grids]
        return _SparseMatrix(torch.cat(matrices, dim=1).T, self._device, self._dtype)


class _SparseMatrix:
    """A sparse matrix (n, m), for products with batches of dense matrices."""

    def __init__(self, matrix: Tensor, device: torch.device, dtype: torch.dtype) -> None:
        rows, columns = matrix.nonzero(as_tuple=True)
        counts = (matrix != 0).sum(1)
        self.columns = columns.to(device)
        self.starts = (counts.cumsum(0) - counts).to(device)
        self.weights = matrix[rows, columns].to(dtype).to(device)

    def sum(self, x: Tensor) -> Tensor:
        """Multiply the matrix with each of the N matrices in `x` (N, m, C); return (N, n, C)."""
        copies, columns, channels = x.shape
        copy = torch.arange(copies, device=x.device)[:, None]
        return F.embedding_bag(
            (self.columns + copy * columns).flatten(),
            x.reshape(-1, channels),
            (self.starts + copy * len(self.columns)).flatten(),
            per_sample_weights=self.weights.to(x.dtype).repeat(copies),
            mode="sum",
        ).view(copies, -1, channels)
