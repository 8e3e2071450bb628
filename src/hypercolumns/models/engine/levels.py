"""Project maps onto the outputs of a classifier's first layer, and add projections of coarse maps to finer ones.

A map is nested in a finer one if each of its cells has the same centre as a cell of the finer map. This is so for all
maps of a SqueezeNet or a ResNet. Linear interpolation of the coarse map at the cells of the finer one, followed by
linear interpolation at pixels, then gives the same values as one interpolation at pixels. The projections of nested
maps can therefore be added from the coarsest map to the finest, and a pixel is interpolated from four cells in all
instead of four cells of each map.

Shapes: B images; tap l has the map (B, C_l, h_l, w_l); the first layer has K outputs and the weight (K, D), where D is
the sum of all C_l.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from hypercolumns.models.alignment import FeatureMap, equal_centres, is_nested
from hypercolumns.models.classifiers.pointwise import add_pointwise, pointwise
from hypercolumns.models.engine._interpolation import CellCentres, GridNeighbours, Interpolation, find_neighbours
from hypercolumns.models.slices import even_slices

CHUNK = 4096 * 512  # values of projections that are computed at a time; they fit the cache of a CPU


@dataclass(frozen=True)
class Level:
    """Maps whose cells have equal centres.

    Attributes:
        maps: the indices of the maps.
        centres: the centres of the cells.
        parent: the index of the finer level in which this level is nested; None if it is not nested in any.
    """

    maps: Sequence[int]
    centres: CellCentres
    parent: int | None


def count(centres: CellCentres) -> int:
    """Return the number of cells of a map."""
    return len(centres.rows) * len(centres.columns)


def find_levels(maps: Sequence[FeatureMap], max_cells: float = math.inf) -> list[Level]:
    """Group maps whose cells have equal centres, and find out which groups are nested in which.

    Args:
        maps: the maps.
        max_cells: groups with more cells are left out.

    Returns:
        The levels, from few cells to many cells. If a level is nested in several levels, its parent is the one with the
        fewest cells.
    """
    groups: list[tuple[list[int], CellCentres]] = []
    for number, (_, *found) in enumerate(maps):
        centres = CellCentres(*found)
        for group, others in groups:
            if equal_centres(centres, others):
                group.append(number)
                break
        else:
            groups.append(([number], centres))
    groups = sorted((group for group in groups if count(group[1]) <= max_cells), key=lambda group: count(group[1]))
    levels = []
    for number, (group, centres) in enumerate(groups, start=1):
        parents = (
            parent
            for parent, (_, finer) in enumerate(groups[number:], start=number)
            if is_nested(centres.rows, finer.rows) and is_nested(centres.columns, finer.columns)
        )
        levels.append(Level(group, centres, next(parents, None)))
    return levels


def level_neighbours(levels: Sequence[Level], pixels: CellCentres) -> list[GridNeighbours]:
    """Find, for each level, the cells between which the cells of its parent lie or, without a parent, the pixels."""
    return [
        find_neighbours(pixels if level.parent is None else levels[level.parent].centres, level.centres)
        for level in levels
    ]


class Projection:
    """Project maps level by level, from the coarsest to the finest, and add each level to its parent.

    The methods compute no autograd graph; `gradients` is the backward pass of `tables`. Both take a few rows of cells
    at a time, which fit the cache.

    Args:
        levels: the levels, as `find_levels` returns them.
        neighbours: the result of `level_neighbours`, or crops of its items.
        raw: the number of maps that are to be projected. They come first. The others are projected already.
        like: a tensor with the device and dtype of the maps.

    Attributes:
        sizes: for each level, the number of rows and of columns of its cells.
        upsampling: for each level, the interpolation at the cells of its parent; None for a level without a parent.
        roots: the indices of the levels without a parent.
    """

    def __init__(
        self,
        levels: Sequence[Level],
        neighbours: Sequence[GridNeighbours],
        raw: int,
        like: Tensor,
    ) -> None:
        self.levels, self.raw = levels, raw
        self.sizes = [(grid.rows.cells, grid.columns.cells) for grid in neighbours]
        self.upsampling = [
            None if level.parent is None else Interpolation([grid], like)
            for level, grid in zip(levels, neighbours, strict=True)
        ]
        self.roots = [number for number, level in enumerate(levels) if level.parent is None]
        # The weights of the cells from which a pixel is interpolated sum to 1. The bias can therefore be added to the
        # projections of any single level.
        self.biased = next((number for number, level in enumerate(levels) if level.maps[0] < raw), None)

    def tables(self, cells: Sequence[Tensor], parts: Sequence[Tensor], bias: Tensor | None) -> list[Tensor]:
        """Compute the projections.

        Args:
            cells: the values of each map as a table: (B, T_l, C_l), or (B, T_l, K) for maps that are projected already.
            parts: for each map that is to be projected, its part (K, C_l) of the weight.
            bias: (K,), which is added once for each pixel; None: no bias.

        Returns:
            For each level without a parent, the sum (B, T, K) of its projection and those of all levels below it.
        """
        tables: list[Tensor] = []
        for number, level in enumerate(self.levels):
            children = self._children(number)
            if level.maps[0] >= self.raw:  # all maps of equal centres that are projected already have been added up
                (projected,) = level.maps
                assert not children, "a projection holds the levels below it"
                tables.append(cells[projected])
                continue
            weight = (
                torch.cat([parts[each] for each in level.maps], dim=1) if len(level.maps) > 1 else parts[level.maps[0]]
            )
            bands = self._bands(number, len(cells[level.maps[0]]) * len(weight))
            table: Tensor | None = None
            for rows, span in bands:
                inputs = [cells[each][:, span] for each in level.maps]
                total = add_pointwise(
                    add([up.band(tables[child], rows).flatten(1, 2) for child, up in children]) if children else None,
                    inputs[0] if len(inputs) == 1 else torch.cat(inputs, dim=-1),
                    weight,
                    bias if number == self.biased else None,
                )
                if len(bands) == 1:
                    table = total.contiguous()  # once, and not for each interpolation
                    break
                if table is None:
                    table = total.new_empty(len(total), math.prod(self.sizes[number]), total.shape[-1])
                table[:, span] = total
            assert table is not None, "a level has cells"
            tables.append(table)
        return [tables[root] for root in self.roots]

    def gradients(
        self,
        of_tables: Sequence[Tensor],
        cells: Sequence[Tensor],
        parts: Sequence[Tensor],
        wanted: Sequence[bool],
    ) -> tuple[list[Tensor | None], list[Tensor | None], Tensor | None]:
        """Compute the gradients of the arguments of `tables`.

        Args:
            of_tables: the gradients of the results of `tables`.
            cells: the argument of `tables`.
            parts: the argument of `tables`.
            wanted: for each map, whether the gradient of its cells is needed.

        Returns:
            The gradients of `cells`, of `parts` and of the bias; None for those that are not needed or 0.
        """
        pending = dict(zip(self.roots, of_tables, strict=True))
        of_cells: list[Tensor | None] = [None] * len(cells)
        of_parts: list[Tensor | None] = [None] * self.raw
        of_bias: Tensor | None = None
        for number, level in reversed([*enumerate(self.levels)]):
            gradient = pending.pop(number)
            for each in level.maps:
                if wanted[each]:
                    of_cells[each] = gradient if each >= self.raw else pointwise(gradient, parts[each].T)
                if each < self.raw:
                    of_parts[each] = gradient.flatten(0, 1).T @ cells[each].flatten(0, 1)
            if number == self.biased:
                of_bias = gradient.sum((0, 1))
            for child, up in self._children(number):
                pending[child] = gradient.new_zeros(len(gradient), math.prod(self.sizes[child]), gradient.shape[-1])
                for rows, span in self._bands(number, len(gradient) * gradient.shape[-1]):
                    up.add_gradient(pending[child], gradient[:, span].unflatten(1, (rows.stop - rows.start, -1)), rows)
        return of_cells, of_parts, of_bias

    def _children(self, number: int) -> list[tuple[int, Interpolation]]:
        """Return the levels whose parent is level `number`, each with its interpolation at the cells of this level."""
        return [
            (child, up)
            for child, (level, up) in enumerate(zip(self.levels, self.upsampling, strict=True))
            if level.parent == number and up is not None
        ]

    def _bands(self, number: int, values: int) -> list[tuple[slice, slice]]:
        """Cut a level into bands that fit the cache, by the number of values of each cell.

        Returns:
            The rows and the cells of each band.
        """
        height, width = self.sizes[number]
        bands = even_slices(height, max(CHUNK // (width * values), 1))
        return [(rows, slice(rows.start * width, rows.stop * width)) for rows in bands]


def project_whole(
    projection: Projection, cells: Sequence[Tensor], parts: Sequence[Tensor], bias: Tensor
) -> list[Tensor]:
    """Compute the tables of `Projection.tables`, with gradients.

    Args:
        projection: the projection of maps that are all to be projected.
        cells: see `Projection.tables`.
        parts: see `Projection.tables`.
        bias: see `Projection.tables`.

    Returns:
        See `Projection.tables`.
    """
    return list(_Project.apply(projection, len(cells), *cells, *parts, bias))


class _Project(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, projection: Projection, maps: int, *tensors: Tensor) -> tuple[Tensor, ...]:
        ctx.projection, ctx.maps = projection, maps
        ctx.save_for_backward(*tensors)
        device = tensors[0].device.type
        ctx.autocast = {"dtype": torch.get_autocast_dtype(device), "enabled": torch.is_autocast_enabled(device)}
        return (*projection.tables(tensors[:maps], tensors[maps:-1], tensors[-1]),)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *of_tables: Tensor) -> tuple[Tensor | None, ...]:
        tensors: tuple[Tensor, ...] = ctx.saved_tensors
        cells, parts = tensors[: ctx.maps], tensors[ctx.maps : -1]
        with torch.autocast(of_tables[0].device.type, **ctx.autocast):
            wanted = ctx.needs_input_grad[2 : 2 + ctx.maps]
            of_cells, of_parts, of_bias = ctx.projection.gradients(of_tables, cells, parts, wanted)
        found = [*of_cells, *of_parts, of_bias]
        return None, None, *(None if x is None else x.to(y.dtype) for x, y in zip(found, tensors, strict=True))


def as_table(values: Tensor) -> Tensor:
    """Return the cells of maps (B, C, h, w) in row-major order, (B, h * w, C)."""
    return values.permute(0, 2, 3, 1).flatten(1, 2)


def add(terms: Iterable[Tensor]) -> Tensor:
    """Return the sum of the terms, in the memory of the first term, which is overwritten."""
    total, *others = terms
    for term in others:
        total += term
    return total
