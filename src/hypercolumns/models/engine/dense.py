"""Classify all pixels of a grid without building their hypercolumns.

Bilinear interpolation is linear, so it commutes with a classifier's first layer:
weight . concat(up(F_l)) = sum_l up(weight_l . F_l), where F_l is the map of tap l, up is the interpolation at the
pixels, and weight_l is the part of the weight for tap l. Each map is projected (multiplied with weight_l) at the map's
own resolution, and K channels are interpolated instead of D. Only a map with at least as many cells as there are pixels
is interpolated first and projected afterwards.

Shapes: B images; tap l has the map (B, C_l, h_l, w_l); D is the sum of all C_l; the first layer has K outputs.
"""

import math
from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor

from hypercolumns.models.alignment import FeatureMap, cells_used
from hypercolumns.models.classifiers.pointwise import pointwise
from hypercolumns.models.engine import _tiles
from hypercolumns.models.engine._interpolation import CellCentres, Interpolation
from hypercolumns.models.slices import even_slices

# From the first layer's output and the y and x of pixels to logits, see `classify`.
Head = Callable[[Tensor, Tensor, Tensor], Tensor]

MAX_BLOCK_WIDTH = 512  # pixels
CPU_BLOCK, CPU_TILE = 34_000, 4096  # pixels; a block's projections and a tile's activations fit the cache of a CPU
ACCELERATOR_BLOCK = ACCELERATOR_TILE = 512 * 512  # pixels; enough work at a time to keep an accelerator busy


def classify(
    maps: Sequence[FeatureMap],
    rows: Tensor,
    columns: Tensor,
    weight: Tensor,
    bias: Tensor,
    head: Head,
    parameters: Sequence[Tensor] = (),
    block: tuple[int, int] | None = None,
    tile: int | None = None,
) -> Tensor:
    """Compute `head(weight . hypercolumn + bias, rows, columns)` for all pixels of a grid.

    A block is a rectangle of pixels, and a tile is a band of rows of a block. The maps are projected for one block at a
    time. The interpolated activations with K channels exist for one tile at a time, in the backward pass too. Except
    for rounding, the result depends neither on `block` nor on `tile`.

    Args:
        maps: the map of each tap.
        rows: (H,), the y of the grid's rows, in pixels.
        columns: (W,), the x of the grid's columns, in pixels.
        weight: (K, D), the weight of the classifier's first layer.
        bias: (K,), the bias of the classifier's first layer.
        head: computes the logits (B, h, w, classes) of h x w pixels from three arguments: the first layer's output
            (B, h, w, K), which it may overwrite, and the y (1, h, 1) and the x (1, 1, w) of the pixels, in pixels.
        parameters: leaf tensors that `head` uses and that need gradients.
        block: the maximum (height, width) of a block, in pixels; None: a size that suits the device.
        tile: the maximum number of pixels of a tile, except that a tile has at least one row. None: a number that suits
            the device.

    Returns:
        What `head` returns for all pixels: (B, H, W, classes), of the dtype that `head` returns.
    """
    on_cpu = maps[0].values.device.type == "cpu"
    if block is None:
        width = min(len(columns), MAX_BLOCK_WIDTH)
        block = max((CPU_BLOCK if on_cpu else ACCELERATOR_BLOCK) // width, 1), width
    height, width = block
    lines = max((tile or (CPU_TILE if on_cpu else ACCELERATOR_TILE)) // min(width, len(columns)), 1)
    groups = group_by_grid(maps)
    # Maps with fewer cells than there are pixels are projected before they are interpolated, other maps afterwards.
    low_res = [group for group in groups if _count_cells(maps[group[0]]) < len(rows) * len(columns)]
    high_res = [[number] for group in groups if group not in low_res for number in group]
    blocks = [
        _Block(maps, low_res, high_res, rows, columns, (down, across), lines, head)
        for down in even_slices(len(rows), height)
        for across in even_slices(len(columns), width)
    ]
    size = len(rows), len(columns)
    return _tiles.run_tiles(blocks, size, [tap_map.values for tap_map in maps], [weight, bias], parameters)


def _count_cells(tap_map: FeatureMap) -> int:
    return len(tap_map.row_centres) * len(tap_map.column_centres)


def group_by_grid(maps: Sequence[FeatureMap]) -> list[list[int]]:
    """Group maps whose cells have equal centres: return one list for each group, with the indices of its maps."""
    groups: list[list[int]] = []
    for number, tap_map in enumerate(maps):
        for group in groups:
            if torch.equal(maps[group[0]].row_centres, tap_map.row_centres) and torch.equal(
                maps[group[0]].column_centres, tap_map.column_centres
            ):
                group.append(number)
                break
        else:
            groups.append([number])
    return groups


def _reused(scratch: Sequence[Tensor], shape: tuple[int, int, int], like: Tensor) -> Tensor:
    """Return an uninitialised tensor, in the memory of `scratch[0]` if possible.

    Args:
        scratch: tensors whose memory may be overwritten. If there are none, or if the memory of the first one is too
            small, the result gets new memory.
        shape: the shape of the result.
        like: a tensor with the device and dtype that the result gets.
    """
    count = math.prod(shape)
    if scratch and scratch[0].untyped_storage().nbytes() >= count * like.element_size():
        return scratch[0].resize_(shape)
    # The memory is a quarter larger than needed, so that a later block with a few more cells can reuse it.
    return like.new_empty(count * 5 // 4).resize_(shape)


class _Block:
    """A block of pixels, see `_tiles.Block`.

    A low-resolution map has fewer cells than the output has pixels. It is projected before it is interpolated. All
    low-resolution maps share the first feature table. The projections of maps whose cells have equal centres are added,
    and the table holds these sums one after the other. Without low-resolution maps, there is no such table.

    The other maps are high-resolution maps. They are interpolated before they are projected. Each has a table of its
    own, which holds the map's values.

    Args:
        maps: the map of each tap.
        low_res: the indices of the low-resolution maps, one list for each group of `group_by_grid`.
        high_res: the indices of the high-resolution maps, each in a list by itself.
        rows: (H,), the y of all rows of the output, in pixels.
        columns: (W,), the x of all columns of the output, in pixels.
        area: the block's rows and columns, as slices of the output's rows and columns.
        lines: the maximum number of rows of a tile.
        head: see `classify`.
    """

    def __init__(
        self,
        maps: Sequence[FeatureMap],
        low_res: Sequence[Sequence[int]],
        high_res: Sequence[Sequence[int]],
        rows: Tensor,
        columns: Tensor,
        area: _tiles.Area,
        lines: int,
        head: Head,
    ) -> None:
        self.low_res, self.high_res, self.head = low_res, high_res, head
        self.channels = [tap_map.values.shape[1] for tap_map in maps]
        down, across = area
        rows, columns = rows[down], columns[across]
        self.rows, self.columns = rows[None, :, None], columns[None, None]
        areas: dict[int, _tiles.Area] = {}
        for group in (*low_res, *high_res):
            _, row_centres, column_centres = maps[group[0]]
            areas |= dict.fromkeys(group, (cells_used(rows, row_centres), cells_used(columns, column_centres)))
        self.areas: Sequence[_tiles.Area] = [areas[number] for number, _ in enumerate(maps)]
        grids = [
            CellCentres(tap_map.row_centres[map_rows], tap_map.column_centres[map_columns])
            for tap_map, (map_rows, map_columns) in zip(maps, self.areas, strict=True)
        ]
        like = maps[0].values
        tables = [[group[0] for group in low_res], *high_res] if low_res else high_res
        self.interpolations = [
            Interpolation([grids[number] for number in table], rows, columns, like) for table in tables
        ]
        self.tiles: Sequence[_tiles.Tile] = [
            _Tile(self, band, down.start, across) for band in even_slices(len(rows), lines)
        ]

    def feature_tables(
        self, crops: Sequence[Tensor], inputs: Sequence[Tensor], scratch: Sequence[Tensor] | None = None
    ) -> list[Tensor]:
        weight, bias = inputs
        parts = weight.split(self.channels, dim=1)
        cells = [part.permute(0, 2, 3, 1).flatten(1, 2) for part in crops]
        # The weights of the cells from which a pixel is interpolated sum to 1. The bias can therefore be added to the
        # projection of any single low-resolution map.
        projected = [
            add(
                pointwise(cells[number], parts[number], bias if number == self.low_res[0][0] else None)
                for number in group
            )
            for group in self.low_res
        ]
        high_res = [cells[number] for (number,) in self.high_res]
        if len(projected) < 2:
            return [*projected, *high_res]
        if scratch is None:
            return [torch.cat(projected, dim=1), *high_res]
        shape = len(crops[0]), sum(cells.shape[1] for cells in projected), len(weight)
        return [torch.cat(projected, dim=1, out=_reused(scratch, shape, projected[0])), *high_res]

    def hidden(self, gathered: Sequence[Tensor], inputs: Sequence[Tensor]) -> Tensor:
        """Compute the first layer's output (B, height, width, K) for the pixels of a tile.

        Args:
            gathered: the values of the block's tables, interpolated at the tile's pixels.
            inputs: the weight and the bias of the first layer.
        """
        weight, bias = inputs
        parts = weight.split(self.channels, dim=1)
        low_res, high_res = (gathered[:1], gathered[1:]) if self.low_res else ((), gathered)
        terms = [
            pointwise(pixels, parts[number], bias if not self.low_res and order == 0 else None)
            for order, ((number,), pixels) in enumerate(zip(self.high_res, high_res, strict=True))
        ]
        return add([*terms, *low_res])


class _Tile:
    """A band of rows of a block, see `_tiles.Tile`.

    Args:
        block: the block.
        band: the rows of the band, as a slice of the block's rows.
        top: the index of the block's first row in the output.
        columns: the block's columns, as a slice of the output's columns.
    """

    def __init__(self, block: _Block, band: slice, top: int, columns: slice) -> None:
        self.block, self.band = block, band
        self.rows, self.columns = slice(top + band.start, top + band.stop), columns

    def gather(self, tables: Sequence[Tensor]) -> list[Tensor]:
        rows = torch.arange(self.band.start, self.band.stop, device=tables[0].device)[:, None]
        columns = torch.arange(self.columns.stop - self.columns.start, device=tables[0].device)
        return [
            interpolation(table, rows, columns)
            for interpolation, table in zip(self.block.interpolations, tables, strict=True)
        ]

    def add_gradients(self, totals: Sequence[Tensor], gradients: Sequence[Tensor]) -> None:
        for interpolation, total, gradient in zip(self.block.interpolations, totals, gradients, strict=True):
            interpolation.add_gradient(total, gradient, self.band)

    def output(self, gathered: Sequence[Tensor], inputs: Sequence[Tensor]) -> Tensor:
        hidden = self.block.hidden(gathered, inputs)
        return self.block.head(hidden, self.block.rows[:, self.band], self.block.columns)


def add(terms: Iterable[Tensor]) -> Tensor:
    """Return the sum of the terms, in the memory of the first term, which is overwritten."""
    total, *others = terms
    for term in others:
        total += term
    return total
