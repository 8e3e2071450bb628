"""`dense.classify` as a graph that can be exported: of images of any size, a few rows of pixels at a time.

The bands of rows are the steps of a `scan`, which torch.export and ONNX both know, so that what has K channels at every
pixel exists of one band only.

Shapes: as in `dense`; images have H rows and W columns of pixels, a band has R rows.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch._higher_order_ops.scan import scan

from hypercolumns.factored.dense import add
from hypercolumns.hypercolumn import Map, neighbours
from hypercolumns.places import Places

BAND = 1  # rows

Finish = Callable[[Tensor, Places], Tensor]  # see `Classifier.finish`


class Group(NamedTuple):
    """Maps whose cells are centred alike, and of each its part (K, C_l) of the first layer's weight.

    Fine ones are projected a band at a time, others as they are.
    """

    maps: Sequence[Map]
    parts: Sequence[Tensor]
    fine: bool


class _Grid(NamedTuple):
    """What is interpolated, and for each row and column of pixels the cells around it, see `neighbours`."""

    table: Tensor  # (B, h, w, C) of a fine group, else (B, h, w, K)
    weight: Tensor | None  # (K, C) of a fine group
    top: Tensor
    bottom: Tensor
    down: Tensor
    left: Tensor
    right: Tensor
    across: Tensor


def classify_rows(groups: Sequence[Group], bias: Tensor, finish: Finish, where: Places) -> Tensor:
    """`finish(weight . hypercolumn + bias, places)` of all pixels of images: (B, H, W, classes).

    `bias` is (K,); `where` are the places of rows (H,) and of columns (W,).
    """
    height, width = where.y.shape[0], where.x.shape[0]
    grids = [_grid(group, torch.arange(height), torch.arange(width)) for group in groups]

    def band(step: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
        hidden = bias
        for grid in grids:
            upper, lower = (grid.table.index_select(1, line.index_select(0, rows)) for line in (grid.top, grid.bottom))
            cells = upper + (lower - upper) * grid.down.index_select(0, rows)[:, None, None]
            if grid.weight is not None:
                cells = cells @ grid.weight.T
            left, right = cells.index_select(2, grid.left), cells.index_select(2, grid.right)
            hidden = hidden + left + (right - left) * grid.across[:, None]
        return step + 1, finish(hidden, Places(where.y.index_select(0, rows)[:, None], where.x))

    bands = torch.arange(0, height, BAND)[:, None] + torch.arange(BAND)
    # ONNX's exporter expects as many values that are carried from band to band as there are inputs: one.
    _, found = scan(band, torch.zeros(1), bands.clamp(max=height - 1))  # (bands, B, R, W, classes)
    return found.movedim(0, 1).flatten(1, 2)[:, :height]


def _grid(group: Group, rows: Tensor, columns: Tensor) -> _Grid:
    (one, *_), parts = group.maps, group.parts
    cells = [each.cells.permute(0, 2, 3, 1) for each in group.maps]
    if group.fine:
        table, weight = torch.cat(cells, dim=-1), torch.cat([*parts], dim=1)
    else:
        table, weight = add(each @ part.T for each, part in zip(cells, parts, strict=True)), None
    top, bottom, down = neighbours(rows, one.rows)
    left, right, across = neighbours(columns, one.columns)
    return _Grid(table, weight, top, bottom, down.to(table), left, right, across.to(table))
