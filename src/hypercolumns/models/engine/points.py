"""Classify some pixels of an image, on request."""

from collections.abc import Sequence

import torch
from torch import Tensor

from hypercolumns.models.alignment import FeatureMap
from hypercolumns.models.classifiers.pointwise import pointwise
from hypercolumns.models.engine._interpolation import CellCentres, Interpolation, find_neighbours
from hypercolumns.models.engine.dense import Head
from hypercolumns.models.engine.levels import add, find_levels

CHUNK = 4096  # pixels that are classified at a time; their activations fit the cache of a CPU


class PointClassifier:
    """Classify pixels of one image on request.

    The order of interpolation and projection is chosen for each map. At first, the map is interpolated at the requested
    pixels, and the results are projected. As soon as more pixels have been requested than the map has cells, the whole
    map is projected once. From then on, the projection is interpolated at the requested pixels.

    Args:
        maps: the maps (1, C_l, h_l, w_l) of the image, one for each tap.
        rows: (H,), the y of the rows of a rectangle, in pixels. All requested pixels must lie in this rectangle.
        columns: (W,), the x of the rectangle's columns, in pixels.
        weight: (K, D), the weight of the classifier's first layer.
        bias: (K,), the bias of the classifier's first layer.
        head: computes the logits (N, classes) of N pixels from three arguments: the first layer's output (N, K), and
            the y (N,) and the x (N,) of the pixels, in pixels.
    """

    def __init__(
        self, maps: Sequence[FeatureMap], rows: Tensor, columns: Tensor, weight: Tensor, bias: Tensor, head: Head
    ) -> None:
        self.rows, self.columns, self.bias, self.head = rows, columns, bias, head
        self.requested = 0  # number of pixels that have been requested
        parts = weight.split([tap_map.values.shape[1] for tap_map in maps], dim=1)
        self.waiting = [
            _TapProjection([maps[n] for n in level.maps], [parts[n] for n in level.maps], rows, columns)
            for level in find_levels(maps)
        ]
        self.projected: list[_TapProjection] = []
        self.table: tuple[Tensor, Interpolation] | None = None  # the projections of the maps in `projected`

    def __call__(self, rows: Tensor, columns: Tensor) -> Tensor:
        """Compute the logits (N, classes) of N pixels, given as indices (N,) into the rectangle's rows and columns."""
        self.requested += len(rows)
        self._project([group for group in self.waiting if len(group.cells[0][0]) < self.requested])
        chunks = zip(rows.split(CHUNK), columns.split(CHUNK), strict=True)
        return torch.cat([self._logits(*chunk) for chunk in chunks])

    def _project(self, groups: Sequence["_TapProjection"]) -> None:
        """Project the whole maps of the given groups, and move the groups from `waiting` to `projected`."""
        if groups:
            self.waiting = [group for group in self.waiting if group not in groups]
            self.projected += groups
            before = [] if self.table is None else [self.table[0]]
            table = torch.cat([*before, *(group.project(group.cells) for group in groups)], dim=1)
            grids = [group.grid for group in self.projected]
            pixels = CellCentres(self.rows, self.columns)
            self.table = table, Interpolation([find_neighbours(pixels, grid) for grid in grids], table)

    def _logits(self, rows: Tensor, columns: Tensor) -> Tensor:
        pixels = self.rows[rows], self.columns[columns]
        rows, columns = rows.to(self.bias.device), columns.to(self.bias.device)
        terms = [
            group.project([group.interpolation.at(cells, rows, columns) for cells in group.cells])
            for group in self.waiting
        ]
        if self.table is not None:
            table, interpolation = self.table
            terms.append(interpolation.at(table, rows, columns))
        return self.head(add([*terms, self.bias])[0], *pixels)


class _TapProjection:
    """Maps of one image whose cells have equal centres (a group), with their parts of the first layer's weight.

    Args:
        maps: the maps (1, C_l, h, w).
        parts: for each map, the part (K, C_l) of the weight.
        rows: (H,), the y of the rectangle's rows, in pixels.
        columns: (W,), the x of the rectangle's columns, in pixels.

    Attributes:
        cells: for each map, its values as a table (1, h * w, C_l).
        parts: the argument `parts`.
        grid: the centres of the cells.
        interpolation: interpolates a map at pixels of the rectangle.
    """

    def __init__(self, maps: Sequence[FeatureMap], parts: Sequence[Tensor], rows: Tensor, columns: Tensor) -> None:
        self.cells = [tap_map.values.permute(0, 2, 3, 1).flatten(1, 2) for tap_map in maps]
        self.parts = parts
        self.grid = CellCentres(maps[0].row_centres, maps[0].column_centres)
        neighbours = find_neighbours(CellCentres(rows, columns), self.grid)
        self.interpolation = Interpolation([neighbours], maps[0].values)

    def project(self, inputs: Sequence[Tensor]) -> Tensor:
        """Project one tensor (1, N, C_l) for each map, and return the sum (1, N, K) of the projections."""
        return add(pointwise(x, part) for x, part in zip(inputs, self.parts, strict=True))
