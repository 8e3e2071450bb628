"""Classify some pixels of an image, on request."""

from collections.abc import Sequence

import torch
from torch import Tensor

from hypercolumns.models.alignment import FeatureMap
from hypercolumns.models.classifiers.pointwise import pointwise
from hypercolumns.models.engine._interpolation import CellCentres, Interpolation
from hypercolumns.models.engine.dense import Head, add, group_by_grid

CHUNK = 4096  # points; their activations fit the cache


class PointClassifier:
    """Classify pixels of one image on demand, with the cheaper order of operations for each tap.

    At first, the map of a tap is interpolated at the requested pixels, and then the results are projected. When more
    pixels have been requested than the map has cells, the whole map is projected once. From then on, the projection is
    interpolated at the requested pixels.

    Args:
        maps: the maps of one image, one for each tap.
        rows: (H,), the y of the rows of a rectangle that contains all pixels, in pixels.
        columns: (W,), the x of the rectangle's columns, in pixels.
        weight: (K, D), of the first layer.
        bias: (K,), of the first layer.
        head: maps the first layer's output (N, K) of pixels on rows (N,) and columns (N,) to logits (N, classes).
    """

    def __init__(
        self, maps: Sequence[FeatureMap], rows: Tensor, columns: Tensor, weight: Tensor, bias: Tensor, head: Head
    ) -> None:
        self.rows, self.columns, self.bias, self.head = rows, columns, bias, head
        self.requested = 0  # points
        parts = weight.split([tap_map.values.shape[1] for tap_map in maps], dim=1)
        self.waiting = [
            _TapProjection([maps[n] for n in numbers], [parts[n] for n in numbers], rows, columns)
            for numbers in group_by_grid(maps)
        ]
        self.projected: list[_TapProjection] = []
        self.table: tuple[Tensor, Interpolation] | None = None  # the projections of the groups in `projected`

    def __call__(self, rows: Tensor, columns: Tensor) -> Tensor:
        """Compute the logits (N, classes) of pixels, given as indices (N,) into the rectangle's rows and columns."""
        self.requested += len(rows)
        self._project([group for group in self.waiting if len(group.cells[0][0]) < self.requested])
        chunks = zip(rows.split(CHUNK), columns.split(CHUNK), strict=True)
        return torch.cat([self._logits(*chunk) for chunk in chunks])

    def _project(self, groups: Sequence["_TapProjection"]) -> None:
        """Project the maps of the groups, and move the groups from `waiting` to `projected`."""
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
    """The maps of a group as tables (1, cells, C_l), each with its part (K, C_l) of the first layer's weight."""

    def __init__(self, maps: Sequence[FeatureMap], parts: Sequence[Tensor], rows: Tensor, columns: Tensor) -> None:
        self.cells = [tap_map.values.permute(0, 2, 3, 1).flatten(1, 2) for tap_map in maps]
        self.parts = parts
        self.grid = CellCentres(maps[0].row_centres, maps[0].column_centres)
        self.interpolation = Interpolation([self.grid], rows, columns, maps[0].values)

    def project(self, inputs: Sequence[Tensor]) -> Tensor:
        """Return the sum (1, N, K) of the projections of `inputs`, which holds one tensor (1, N, C_l) for each map."""
        return add(pointwise(x, part) for x, part in zip(inputs, self.parts, strict=True))
