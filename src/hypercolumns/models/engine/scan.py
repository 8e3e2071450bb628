"""Classify hypercolumns in a graph that can be exported: for images of any size, one row of pixels at a time.

The rows are the steps of a `scan`, an operator of both torch.export and ONNX. Activations with K channels therefore
exist for one row of pixels only. Two rows at a time are a little faster for small images, and slower for wide images,
where two rows do not fit the cache.

Shapes: as in `dense`; images have H rows and W columns of pixels.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch._higher_order_ops.scan import scan

from hypercolumns.coordinates import PixelCoordinates
from hypercolumns.models.alignment import FeatureMap, bilinear_neighbours
from hypercolumns.models.engine.dense import add

ScanHead = Callable[[Tensor, PixelCoordinates], Tensor]  # see `Classifier.head`


class TapGroup(NamedTuple):
    """Maps whose cells have equal centres, with their parts of the first layer's weight.

    Attributes:
        maps: of one or more taps.
        parts: (K, C_l), for each map.
        high_res: whether the maps are projected after the interpolation, one row of pixels at a time; others are
            projected before it.
        nested: whether every column of cells is centred on a column of the next group. Such a group is interpolated
            along x to the next group's columns and added there, which gives the same result with less work per pixel.
    """

    maps: Sequence[FeatureMap]
    parts: Sequence[Tensor]
    high_res: bool
    nested: bool


class _GridProjection(NamedTuple):
    """A group's values, and the cells around each row and each column of pixels, see `bilinear_neighbours`.

    The columns of a nested group are interpolated at the next group's columns of cells instead of pixels.

    Attributes:
        table: (B, h, w, C) for a high-resolution group, (B, h, w, K) for others.
        weight: (K, C) for a high-resolution group, None for others.
        bias: (K,) for the first group, None for others.
        top: the index of the row of cells above each row of pixels.
        bottom: the index of the row of cells below.
        down: the weight of the row below.
        left: the index of the column of cells to the left of each column.
        right: the index of the column of cells to the right.
        across: the weight of the column to the right.
        nested: see `TapGroup`.
    """

    table: Tensor
    weight: Tensor | None
    bias: Tensor | None
    top: Tensor
    bottom: Tensor
    down: Tensor
    left: Tensor
    right: Tensor
    across: Tensor
    nested: bool


def scan_rows(groups: Sequence[TapGroup], bias: Tensor, head: ScanHead, where: PixelCoordinates) -> Tensor:
    """Compute `head(weight . hypercolumn + bias, coordinates)` for all pixels of images.

    Args:
        groups: the maps, with their parts of the weight.
        bias: (K,), of the first layer.
        head: see `Classifier.head`.
        where: the normalised coordinates of the rows (H,) and of the columns (W,).

    Returns:
        (B, H, W, classes).
    """
    height, width = where.y.shape[0], where.x.shape[0]
    columns = [
        following.maps[0].column_centres if group.nested else torch.arange(width)
        for group, following in zip(groups, [*groups[1:], groups[-1]], strict=True)
    ]
    grids = [
        _project_group(group, torch.arange(height), targets, bias if number == 0 else None)
        for number, (group, targets) in enumerate(zip(groups, columns, strict=True))
    ]

    def classified(step: Tensor, row: Tensor) -> tuple[Tensor, Tensor]:
        terms: list[Tensor] = []
        nested: list[Tensor] = []
        for grid in grids:
            upper, lower = (grid.table.index_select(1, line.index_select(0, row)) for line in (grid.top, grid.bottom))
            cells = upper + (lower - upper) * grid.down.index_select(0, row)[:, None, None]
            if grid.weight is not None:
                cells = F.linear(cells, grid.weight, grid.bias)
            cells = add([cells, *nested])
            left, right = cells.index_select(2, grid.left), cells.index_select(2, grid.right)
            spread = left + (right - left) * grid.across[:, None]
            nested = [spread] if grid.nested else []
            terms += [] if grid.nested else [spread]
        hidden = add(terms)
        return step + 1, head(hidden, PixelCoordinates(where.y.index_select(0, row)[:, None], where.x))

    # ONNX's exporter expects as many values carried from row to row as there are inputs. There is one input, the row's
    # index, so a step counter is carried along.
    _, logits = scan(classified, torch.zeros(1), torch.arange(height)[:, None])
    pixels: Tensor = logits[:, :, 0].movedim(0, 1)  # logits are (H, B, 1, W, classes)
    return pixels


def _project_group(group: TapGroup, rows: Tensor, columns: Tensor, bias: Tensor | None) -> _GridProjection:
    """Project the maps of a low-resolution group, and find the cells around `rows` and `columns`.

    A bias may be added before the interpolation, as the weights of a pixel's cells sum to 1.
    """
    (first, *_), parts = group.maps, group.parts
    cells = [tap_map.values.permute(0, 2, 3, 1) for tap_map in group.maps]
    if group.high_res:
        table, weight = torch.cat(cells, dim=-1), torch.cat([*parts], dim=1)
    else:
        biases = [bias, *[None] * (len(parts) - 1)]
        table, weight = add(F.linear(*layer) for layer in zip(cells, parts, biases, strict=True)), None
    top, bottom, down = bilinear_neighbours(rows, first.row_centres)
    left, right, across = bilinear_neighbours(columns, first.column_centres)
    return _GridProjection(
        table, weight, bias, top, bottom, down.to(table), left, right, across.to(table), group.nested
    )
