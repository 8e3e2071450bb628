"""Classify all pixels of a grid without building their hypercolumns.

Bilinear interpolation is linear, so it commutes with a classifier's first layer:
weight . concat(up(F_l)) = sum_l up(weight_l . F_l), where F_l is the map of tap l, up is the interpolation at the
pixels, and weight_l is the part of the weight for tap l. Each map is projected (multiplied with weight_l) at the map's
own resolution, and K channels are interpolated instead of D. Only a map with at least as many cells as there are pixels
is interpolated first and projected afterwards.

Shapes: B images; tap l has the map (B, C_l, h_l, w_l); D is the sum of all C_l; the first layer has K outputs.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from hypercolumns.models.alignment import FeatureMap
from hypercolumns.models.classifiers.pointwise import pointwise
from hypercolumns.models.engine import _tiles
from hypercolumns.models.engine._interpolation import CellCentres, GridNeighbours, Interpolation, find_neighbours
from hypercolumns.models.engine.levels import Projection, add, as_table, find_levels, level_neighbours, project_whole
from hypercolumns.models.slices import even_slices

# From the first layer's output and the y and x of pixels to logits, see `classify`.
Head = Callable[[Tensor, Tensor, Tensor], Tensor]

MAX_BLOCK_WIDTH = 512  # pixels
# The number of first-layer outputs of all pixels of a block, and of a tile, in all images of a batch together.
CPU_BLOCK, CPU_TILE = 50_000 * 512, 4096 * 512  # the activations of a tile fit the cache of a CPU
MIN_BLOCK = 34_000  # pixels in each image; in smaller blocks, many cells at the edges would be projected several times
# The number of cells for each pixel in the blocks above. Blocks with more are smaller, so that the projections of their
# cells need no more memory. The pixels of a coarse grid can be as far apart as the cells of a map.
USUAL_DENSITY = 0.25
ACCELERATOR_BLOCK = ACCELERATOR_TILE = 512 * 512 * 512  # enough work at a time to keep an accelerator busy
# Maps with at most one cell for this many pixels are projected as a whole, before the blocks. Their projections need
# little memory, and cells at the edges of blocks are not projected several times.
COARSE_PIXELS = 32


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

    A block is a rectangle of pixels, and a tile is a band of rows of a block. The coarsest maps are projected first.
    All other maps are projected for one block at a time. The interpolated activations with K channels exist for one
    tile at a time, in the backward pass too. Except for rounding, the result depends neither on `block` nor on `tile`.

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
    pixels = len(rows) * len(columns)
    high_res = [each.values.shape[1] for each in maps if len(each.row_centres) * len(each.column_centres) >= pixels]
    values = len(maps[0].values) * max(len(weight), *high_res, 1)  # the most that a tile holds for each pixel
    if block is None:
        width = min(len(columns), MAX_BLOCK_WIDTH)
        most = max((CPU_BLOCK if on_cpu else ACCELERATOR_BLOCK) // values, MIN_BLOCK)
        block = max(int(most / max(_density(maps, pixels) / USUAL_DENSITY, 1)) // width, 1), width
    height, width = block
    tile = tile or (CPU_TILE if on_cpu else ACCELERATOR_TILE) // values
    lines = max(tile // min(width, len(columns)), 1)
    parts = weight.split([tap_map.values.shape[1] for tap_map in maps], dim=1)
    maps, parts, bias_left = _project_coarse(maps, parts, bias, CellCentres(rows, columns))
    plan = _Plan(maps, len(parts), CellCentres(rows, columns))
    blocks = [
        _Block(plan, (down, across), lines, head)
        for down in even_slices(len(rows), height)
        for across in even_slices(len(columns), width)
    ]
    inputs = [*parts, *([] if bias_left is None else [bias_left])]
    return _tiles.run_tiles(blocks, (len(rows), len(columns)), [tap_map.values for tap_map in maps], inputs, parameters)


def in_full(cells: Tensor, like: Tensor) -> Tensor:
    """Return cells of half precision, in which maps can be kept, in the dtype of the weights, unless autocast does."""
    if cells.dtype != torch.float16 or torch.is_autocast_enabled(cells.device.type):
        return cells
    return cells.to(like.dtype)


def _density(maps: Sequence[FeatureMap], pixels: int) -> float:
    """Return the number of cells for each pixel of the finest map that is projected before it is interpolated."""
    cells = [len(tap_map.row_centres) * len(tap_map.column_centres) for tap_map in maps]
    return max((count for count in cells if count < pixels), default=0) / pixels


def _project_coarse(
    maps: Sequence[FeatureMap], parts: Sequence[Tensor], bias: Tensor, pixels: CellCentres
) -> tuple[Sequence[FeatureMap], Sequence[Tensor], Tensor | None]:
    """Project the maps with few cells as a whole.

    Args:
        maps: the map of each tap.
        parts: for each map, its part (K, C_l) of the weight.
        bias: (K,), the bias of the classifier's first layer.
        pixels: the y of the rows and the x of the columns of the output, in pixels.

    Returns:
        The maps that remain to be projected, followed by the projections (B, K, h, w); the parts of the weight for the
        remaining maps; and the bias, or None if the projections contain it.
    """
    max_cells = len(pixels.rows) * len(pixels.columns) // COARSE_PIXELS
    coarse = [n for n, (_, rows, columns) in enumerate(maps) if len(rows) * len(columns) <= max_cells]
    if not coarse:
        return maps, parts, bias
    levels = find_levels([maps[number] for number in coarse])
    projection = Projection(levels, level_neighbours(levels, pixels), len(coarse), maps[0].values)
    tables = project_whole(
        projection,
        [in_full(as_table(maps[number].values), bias) for number in coarse],
        [parts[number] for number in coarse],
        bias,
    )
    projections = [
        FeatureMap(table.unflatten(1, projection.sizes[root]).permute(0, 3, 1, 2), *levels[root].centres)
        for table, root in zip(tables, projection.roots, strict=True)
    ]
    remaining = [number for number in range(len(maps)) if number not in coarse]
    return [*(maps[n] for n in remaining), *projections], [parts[n] for n in remaining], None


class _Plan:
    """What all blocks have in common.

    A low-resolution map has fewer cells than there are pixels. It is projected before it is interpolated. A
    high-resolution map is interpolated before it is projected.

    Args:
        maps: the maps. The projections of `_project_coarse` come last.
        raw: the number of maps that are not projected yet.
        pixels: the y of the rows and the x of the columns of the output, in pixels.

    Attributes:
        like: an empty tensor with the device and dtype of the maps.
        maps: the number of maps.
        raw: the argument `raw`.
        pixels: the argument `pixels`.
        levels: the levels of the low-resolution maps.
        high_res: the indices of the high-resolution maps.
        neighbours: for each level, the cells between which the cells of its parent lie or, without a parent, the
            pixels.
        high_res_neighbours: for each high-resolution map, the cells between which the pixels lie.
    """

    def __init__(self, maps: Sequence[FeatureMap], raw: int, pixels: CellCentres) -> None:
        self.like, self.maps = maps[0].values.new_empty(0), len(maps)
        self.raw, self.pixels = raw, pixels
        self.levels = find_levels(maps, len(pixels.rows) * len(pixels.columns) - 1)
        low_res = {number for level in self.levels for number in level.maps}
        self.high_res = [number for number in range(len(maps)) if number not in low_res]
        self.neighbours = level_neighbours(self.levels, pixels)
        self.high_res_neighbours = [find_neighbours(pixels, CellCentres(*maps[number][1:])) for number in self.high_res]


class _Block:
    """A block of pixels, see `_tiles.Block`.

    All levels of low-resolution maps without a parent share the first feature table, one after the other. Without
    low-resolution maps, there is no such table. Each high-resolution map has a table of its own, which holds the map's
    values.

    Args:
        plan: what all blocks have in common.
        area: the block's rows and columns, as slices of the output's rows and columns.
        lines: the maximum number of rows of a tile.
        head: see `classify`.
    """

    def __init__(self, plan: _Plan, area: _tiles.Area, lines: int, head: Head) -> None:
        self.plan, self.head = plan, head
        down, across = area
        self.rows, self.columns = plan.pixels.rows[None, down, None], plan.pixels.columns[None, None, across]
        like = plan.like
        areas: dict[int, _tiles.Area] = {}
        cropped: dict[int, tuple[_tiles.Area, GridNeighbours]] = {}
        # From the finest level to the coarsest: a level is needed at the block's pixels or at the cells of its parent.
        for number, level in reversed([*enumerate(plan.levels)]):
            targets = area if level.parent is None else cropped[level.parent][0]
            cropped[number] = _crop(plan.neighbours[number], targets)
            areas |= dict.fromkeys(level.maps, cropped[number][0])
        inside_levels = [cropped[number][1] for number, _ in enumerate(plan.levels)]
        self.projection = Projection(plan.levels, inside_levels, plan.raw, like)
        self.sizes = [cropped[root][1].cells for root in self.projection.roots]
        roots = [cropped[root][1] for root in self.projection.roots]
        tables = [roots] if roots else []
        for number, neighbours in zip(plan.high_res, plan.high_res_neighbours, strict=True):
            areas[number], inside = _crop(neighbours, area)
            tables.append([inside])
        self.areas: Sequence[_tiles.Area] = [areas[number] for number in range(plan.maps)]
        self.interpolations = [Interpolation(grids, like) for grids in tables]
        self._bands, self._top, self._columns = even_slices(down.stop - down.start, lines), down.start, across

    @property
    def tiles(self) -> Sequence[_tiles.Tile]:
        """The tiles of the block. Each call makes them, because a block with tiles would be a reference cycle.

        The memory of a cycle is freed late, and large images have many blocks.
        """
        return [_Tile(self, band, self._top, self._columns) for band in self._bands]

    def feature_tables(self, crops: Sequence[Tensor], inputs: Sequence[Tensor]) -> list[Tensor]:
        parts, bias = self._split(inputs)
        cells = [as_table(crop) for crop in crops]
        if inputs:  # without them, all maps are projections, which have the dtype of the weights
            cells = [in_full(table, inputs[0]) for table in cells]
        high_res = [cells[number] for number in self.plan.high_res]
        if not self.plan.levels:
            return high_res
        tables = self.projection.tables(cells, parts, bias)
        return [tables[0] if len(tables) == 1 else torch.cat(tables, dim=1), *high_res]

    def add_table_gradients(
        self,
        of_tables: Sequence[Tensor],
        crops: Sequence[Tensor],
        inputs: Sequence[Tensor],
        of_crops: Sequence[Tensor | None],
        of_inputs: Sequence[Tensor | None],
    ) -> None:
        of_cells: list[Tensor | None] = [None] * len(crops)
        if self.plan.levels:
            parts, _ = self._split(inputs)
            roots = of_tables[0].split(self.sizes, dim=1)
            wanted = [total is not None for total in of_crops]
            of_cells, of_parts, of_bias = self.projection.gradients(
                roots, [as_table(crop) for crop in crops], parts, wanted
            )
            for total, gradient in zip(of_inputs, [*of_parts, of_bias], strict=False):
                if total is not None and gradient is not None:
                    total += gradient
            of_tables = of_tables[1:]
        for number, gradient in zip(self.plan.high_res, of_tables, strict=True):
            of_cells[number] = gradient
        for total, gradient in zip(of_crops, of_cells, strict=True):
            if total is not None and gradient is not None:
                total += gradient.unflatten(1, (total.shape[2], total.shape[3])).permute(0, 3, 1, 2)

    def hidden(self, gathered: Sequence[Tensor], inputs: Sequence[Tensor]) -> Tensor:
        """Compute the first layer's output (B, height, width, K) for the pixels of a tile.

        Args:
            gathered: the values of the block's tables, interpolated at the tile's pixels.
            inputs: the parts of the first layer's weight, and the bias unless a projection contains it.
        """
        parts, bias = self._split(inputs)
        low_res, high_res = (gathered[:1], gathered[1:]) if self.plan.levels else ((), gathered)
        terms = [
            pointwise(pixels, parts[number], bias if not self.plan.levels and order == 0 else None)
            for order, (number, pixels) in enumerate(zip(self.plan.high_res, high_res, strict=True))
        ]
        return add([*terms, *low_res])

    def _split(self, inputs: Sequence[Tensor]) -> tuple[Sequence[Tensor], Tensor | None]:
        raw = self.plan.raw
        return inputs[:raw], inputs[raw] if len(inputs) > raw else None


def _crop(neighbours: GridNeighbours, targets: _tiles.Area) -> tuple[_tiles.Area, GridNeighbours]:
    """Return the area of the cells between which some of the targets lie, and the neighbours within this area."""
    rows, y = neighbours.rows.crop(targets[0])
    columns, x = neighbours.columns.crop(targets[1])
    return (rows, columns), GridNeighbours(y, x)


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
        return [
            interpolation.band(table, self.band)
            for interpolation, table in zip(self.block.interpolations, tables, strict=True)
        ]

    def add_gradients(self, totals: Sequence[Tensor], gradients: Sequence[Tensor]) -> None:
        for interpolation, total, gradient in zip(self.block.interpolations, totals, gradients, strict=True):
            interpolation.add_gradient(total, gradient, self.band)

    def output(self, gathered: Sequence[Tensor], inputs: Sequence[Tensor]) -> Tensor:
        hidden = self.block.hidden(gathered, inputs)
        return self.block.head(hidden, self.block.rows[:, self.band], self.block.columns)
