"""Classify hypercolumns at some of an image's pixels."""

from collections.abc import Sequence

import torch
from torch import Tensor

from hypercolumns.models.alignment import FeatureMap
from hypercolumns.models.classifiers.pointwise import pointwise
from hypercolumns.models.engine._interpolation import CellCentres, Interpolation
from hypercolumns.models.engine.dense import Head, add, group_by_grid

CHUNK = 4096  # points; what is made of them stays in the cache


class PointClassifier:
    """`head(weight . hypercolumn + bias)` at pixels of one image; called again and again, it gets cheaper.

    A tap's cells are gathered first and projected after, which costs a projection a point, until it has been asked for
    more points than the tap has cells: then all cells are projected, once, and their projections gathered.
    """

    def __init__(
        self, maps: Sequence[FeatureMap], rows: Tensor, columns: Tensor, weight: Tensor, bias: Tensor, head: Head
    ) -> None:
        """For pixels on `rows` and `columns` of one image; all else as for `classify`.

        `head` is given (N, K) of N pixels, and their rows (N,) and columns (N,).
        """
        self.rows, self.columns, self.bias, self.head = rows, columns, bias, head
        self.asked = 0
        parts = weight.split([one.values.shape[1] for one in maps], dim=1)
        self.waiting = [
            _TapProjection([maps[n] for n in numbers], [parts[n] for n in numbers], rows, columns)
            for numbers in group_by_grid(maps)
        ]
        self.projected: list[_TapProjection] = []
        self.table: tuple[Tensor, Interpolation] | None = None  # of the projected groups

    def __call__(self, rows: Tensor, columns: Tensor) -> Tensor:
        """The logits (N, classes) at pixels given by their positions (N,) among the rows and among the columns."""
        self.asked += len(rows)
        self._project([group for group in self.waiting if len(group.cells[0][0]) < self.asked])
        chunks = zip(rows.split(CHUNK), columns.split(CHUNK), strict=True)
        return torch.cat([self._logits(*chunk) for chunk in chunks])

    def _project(self, groups: Sequence["_TapProjection"]) -> None:
        """Move these groups from those that wait to those that are projected."""
        if groups:
            self.waiting = [group for group in self.waiting if group not in groups]
            self.projected += groups
            before = [] if self.table is None else [self.table[0]]
            table = torch.cat([*before, *(group.project(group.cells) for group in groups)], dim=1)
            grids = [group.grid for group in self.projected]
            self.table = table, Interpolation(grids, self.rows, self.columns, table)

    def _logits(self, rows: Tensor, columns: Tensor) -> Tensor:
        pixels = self.rows[rows], self.columns[columns]
        rows, columns = rows.to(self.bias.device), columns.to(self.bias.device)
        terms = [
            group.project([group.interpolation(cells, rows, columns) for cells in group.cells])
            for group in self.waiting
        ]
        if self.table is not None:
            table, interpolation = self.table
            terms.append(interpolation(table, rows, columns))
        return self.head(add([*terms, self.bias])[0], *pixels)


class _TapProjection:
    """Maps on one grid: each as a table, and its part of the weight."""

    def __init__(self, maps: Sequence[FeatureMap], parts: Sequence[Tensor], rows: Tensor, columns: Tensor) -> None:
        self.cells = [one.values.permute(0, 2, 3, 1).flatten(1, 2) for one in maps]
        self.parts = parts
        self.grid = CellCentres(maps[0].row_centres, maps[0].column_centres)
        self.interpolation = Interpolation([self.grid], rows, columns, maps[0].values)

    def project(self, inputs: Sequence[Tensor]) -> Tensor:
        """The sum of the projections of inputs (1, N, C_l), of each map: (1, N, K)."""
        return add(pointwise(x, part) for x, part in zip(inputs, self.parts, strict=True))
