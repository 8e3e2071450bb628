"""`dense.classify` as a graph that can be exported: of images of any size, a few rows of pixels at a time.

The bands of rows are the steps of a `scan`, which torch.export and ONNX both know, so that what has K channels at every
pixel exists of one band only.

Shapes: as in `dense`; images have H rows and W columns of pixels, a band has R rows.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch._higher_order_ops.scan import scan

from hypercolumns.factored.dense import add
from hypercolumns.hypercolumn import Map, neighbours
from hypercolumns.places import Places

BAND = 2  # rows

Finish = Callable[[Tensor, Places], Tensor]  # see `Classifier.finish`


class Group(NamedTuple):
    """Maps whose cells are centred alike, and of each its part (K, C_l) of the first layer's weight.

    Fine ones are projected a band at a time, others as they are. The columns of nested ones are centred on columns of
    the next group: interpolating from these is the same, and the fewer columns a grid has the less is to be done.
    """

    maps: Sequence[Map]
    parts: Sequence[Tensor]
    fine: bool
    nested: bool


class _Grid(NamedTuple):
    """What is interpolated, and for each row of pixels the cells around it, see `neighbours`; so for each column.

    The columns of a nested grid are interpolated at those of the next one.
    """

    table: Tensor  # (B, h, w, C) of a fine group, else (B, h, w, K)
    weight: Tensor | None  # (K, C) of a fine group
    bias: Tensor | None
    top: Tensor
    bottom: Tensor
    down: Tensor
    left: Tensor
    right: Tensor
    across: Tensor
    nested: bool


def classify_rows(groups: Sequence[Group], bias: Tensor, finish: Finish, where: Places) -> Tensor:
    """`finish(weight . hypercolumn + bias, places)` of all pixels of images: (B, H, W, classes).

    `bias` is (K,); `where` are the places of rows (H,) and of columns (W,).
    """
    height, width = where.y.shape[0], where.x.shape[0]
    columns = [
        following.maps[0].columns if group.nested else torch.arange(width)
        for group, following in zip(groups, [*groups[1:], groups[-1]], strict=True)
    ]
    grids = [
        _grid(group, torch.arange(height), own, bias if number == 0 else None)
        for number, (group, own) in enumerate(zip(groups, columns, strict=True))
    ]

    def band(step: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
        pixels: list[Tensor] = []
        nested: list[Tensor] = []
        for grid in grids:
            upper, lower = (grid.table.index_select(1, line.index_select(0, rows)) for line in (grid.top, grid.bottom))
            cells = upper + (lower - upper) * grid.down.index_select(0, rows)[:, None, None]
            if grid.weight is not None:
                cells = F.linear(cells, grid.weight, grid.bias)
            cells = add([cells, *nested])
            left, right = cells.index_select(2, grid.left), cells.index_select(2, grid.right)
            spread = left + (right - left) * grid.across[:, None]
            nested = [spread] if grid.nested else []
            pixels += [] if grid.nested else [spread]
        hidden = add(pixels)
        return step + 1, finish(hidden, Places(where.y.index_select(0, rows)[:, None], where.x))

    bands = torch.arange(0, height, BAND)[:, None] + torch.arange(BAND)
    # ONNX's exporter expects as many values that are carried from band to band as there are inputs: one.
    _, found = scan(band, torch.zeros(1), bands.clamp(max=height - 1))  # (bands, B, R, W, classes)
    classified: Tensor = found.movedim(0, 1).flatten(1, 2)[:, :height]
    return classified


def _grid(group: Group, rows: Tensor, columns: Tensor, bias: Tensor | None) -> _Grid:
    """For these rows and columns; a bias is added to the projection, as the weights of a pixel's cells sum to 1."""
    (one, *_), parts = group.maps, group.parts
    cells = [each.cells.permute(0, 2, 3, 1) for each in group.maps]
    if group.fine:
        table, weight = torch.cat(cells, dim=-1), torch.cat([*parts], dim=1)
    else:
        biases = [bias, *[None] * (len(parts) - 1)]
        table, weight = add(F.linear(*each) for each in zip(cells, parts, biases, strict=True)), None
    top, bottom, down = neighbours(rows, one.rows)
    left, right, across = neighbours(columns, one.columns)
    return _Grid(table, weight, bias, top, bottom, down.to(table), left, right, across.to(table), group.nested)
