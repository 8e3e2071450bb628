"""Classify hypercolumns at some of an image's pixels."""

from collections.abc import Sequence

import torch
from torch import Tensor

from hypercolumns.factored.classify import Rest, add, on_one_grid
from hypercolumns.factored.interpolation import Grid, Interpolation
from hypercolumns.hypercolumn import Map
from hypercolumns.pointwise import pointwise

CHUNK = 8192  # points; what is made of them stays in the cache


class PointClassifier:
    """`rest(weight . hypercolumn + bias)` at pixels of one image; called again and again, it gets cheaper.

    A tap's cells are gathered first and projected after, which costs N products for N points, until it has been asked
    for more points than the tap has cells: then all cells are projected once, and their projections gathered.
    """

    def __init__(
        self, maps: Sequence[Map], rows: Tensor, columns: Tensor, weight: Tensor, bias: Tensor, rest: Rest
    ) -> None:
        """For pixels on `rows` and `columns` of one image; all else as for `classify`."""
        self.bias, self.rest = bias, rest
        parts = weight.split([one.cells.shape[1] for one in maps], dim=1)
        self.groups = [
            _Group([maps[n] for n in group], [parts[n] for n in group], rows, columns) for group in on_one_grid(maps)
        ]

    def __call__(self, rows: Tensor, columns: Tensor) -> Tensor:
        """The logits (N, classes) at pixels given by their positions (N,) among the rows and among the columns."""
        rows, columns = rows.to(self.bias.device), columns.to(self.bias.device)
        for group in self.groups:
            group.expect(len(rows))
        chunks = zip(rows.split(CHUNK), columns.split(CHUNK), strict=True)
        return torch.cat([self._logits(*chunk) for chunk in chunks])

    def _logits(self, rows: Tensor, columns: Tensor) -> Tensor:
        return self.rest(add([*(group.projected(rows, columns) for group in self.groups), self.bias]))


class _Group:
    """Maps on one grid, in a table; or once that is cheaper, the sum of their projections."""

    def __init__(self, maps: Sequence[Map], parts: Sequence[Tensor], rows: Tensor, columns: Tensor) -> None:
        self.cells = [one.cells.permute(0, 2, 3, 1).flatten(1, 2) for one in maps]
        self.parts = parts
        self.interpolation = Interpolation([Grid(maps[0].rows, maps[0].columns)], rows, columns, maps[0].cells)
        self.asked = 0
        self.table: Tensor | None = None

    def expect(self, points: int) -> None:
        self.asked += points
        if self.table is None and self.asked > self.cells[0].shape[1]:
            self.table = self._project(self.cells)

    def projected(self, rows: Tensor, columns: Tensor) -> Tensor:
        """(N, K)."""
        if self.table is not None:
            return self.interpolation(self.table, rows, columns)[0]
        return self._project([self.interpolation(cells, rows, columns) for cells in self.cells])[0]

    def _project(self, inputs: Sequence[Tensor]) -> Tensor:
        return add(pointwise(x, part) for x, part in zip(inputs, self.parts, strict=True))
