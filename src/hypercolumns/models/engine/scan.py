"""Classify the pixels of images of any size, row by row, in a graph that can be exported.

The rows are the steps of a `scan`, an operator of both torch.export and ONNX. Activations with K channels therefore
exist for one row of pixels only. Steps of two rows would be a little faster for small images, and slower for wide
images, where two rows do not fit the cache.

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
        maps: the maps of one or more taps.
        parts: (K, C_l), for each map.
        high_res: whether the maps are interpolated along y before they are projected, one row of pixels at a time. If
            not, they are projected before any interpolation.
        nested: whether each column of cells has the same centre as a column of the next group's cells. Such a group is
            interpolated along x to the next group's columns and added there. The result is the same, with less work
            for each pixel.
    """

    maps: Sequence[FeatureMap]
    parts: Sequence[Tensor]
    high_res: bool
    nested: bool


class _GridProjection(NamedTuple):
    """A group's values, and the cells around each row and each column of pixels, see `bilinear_neighbours`.

    For a nested group, the columns are not columns of pixels, but the next group's columns of cells.

    Attributes:
        table: (B, h, w, C) for a high-resolution group, (B, h, w, K) for others.
        weight: (K, C) for a high-resolution group, None for others.
        bias: (K,) for the first group, None for others.
        top: the index of the row of cells above each row of pixels.
        bottom: the index of the row of cells below each row of pixels.
        down: the weight of the row of cells below.
        left: the index of the column of cells to the left of each column.
        right: the index of the column of cells to the right of each column.
        across: the weight of the column of cells to the right.
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
        groups: the maps with their parts of the weight; a nested group is nested in the group after it.
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

    # ONNX's exporter expects that a row has as many inputs as values carried over from the row before. Each row has one
    # input, the row's index, so one value is carried: a counter that nothing reads.
    _, logits = scan(classified, torch.zeros(1), torch.arange(height)[:, None])
    pixels: Tensor = logits[:, :, 0].movedim(0, 1)  # logits are (H, B, 1, W, classes)
    return pixels


def _project_group(group: TapGroup, rows: Tensor, columns: Tensor, bias: Tensor | None) -> _GridProjection:
    """Prepare a group for the scan: compute its table, and find the cells around `rows` and `columns`.

    The maps of a low-resolution group are projected here, those of a high-resolution group in each row of the scan. A
    low-resolution group can add the bias before the interpolation, because the weights of a pixel's cells sum to 1.
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
