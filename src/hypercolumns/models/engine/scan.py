"""`dense.classify` as a graph that can be exported: of images of any size, a row of pixels at a time.

The rows are the steps of a `scan`, which torch.export and ONNX both know, so that what has K channels at every pixel
exists of one row only. Two rows at a time are a little faster for small images, and slower for wide ones, of which they
do not fit the cache.

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
    """Maps whose cells are centred alike, and of each its part (K, C_l) of the first layer's weight.

    High-resolution ones are projected a row of pixels at a time, others as they are. The columns of nested ones are
    centred on columns of the next group: interpolating from these is the same, and there is less to be done at every
    pixel.
    """

    maps: Sequence[FeatureMap]
    parts: Sequence[Tensor]
    high_res: bool
    nested: bool


class _GridProjection(NamedTuple):
    """What is interpolated, and the cells around each row and each column of pixels, see `bilinear_neighbours`.

    The columns of a nested grid are interpolated at those of the next one.
    """

    table: Tensor  # (B, h, w, C) of a high-resolution group, else (B, h, w, K)
    weight: Tensor | None  # (K, C) of a high-resolution group
    bias: Tensor | None
    top: Tensor
    bottom: Tensor
    down: Tensor
    left: Tensor
    right: Tensor
    across: Tensor
    nested: bool


def scan_rows(groups: Sequence[TapGroup], bias: Tensor, head: ScanHead, where: PixelCoordinates) -> Tensor:
    """`head(weight . hypercolumn + bias, coordinates)` of all pixels of images: (B, H, W, classes).

    `bias` is (K,); `where` are the coordinates of rows (H,) and of columns (W,).
    """
    height, width = where.y.shape[0], where.x.shape[0]
    columns = [
        following.maps[0].column_centres if group.nested else torch.arange(width)
        for group, following in zip(groups, [*groups[1:], groups[-1]], strict=True)
    ]
    grids = [
        _project_group(group, torch.arange(height), own, bias if number == 0 else None)
        for number, (group, own) in enumerate(zip(groups, columns, strict=True))
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

    # ONNX's exporter expects as many values that are carried from row to row as there are inputs: one.
    _, found = scan(classified, torch.zeros(1), torch.arange(height)[:, None])
    pixels: Tensor = found[:, :, 0].movedim(0, 1)  # of (H, B, 1, W, classes)
    return pixels


def _project_group(group: TapGroup, rows: Tensor, columns: Tensor, bias: Tensor | None) -> _GridProjection:
    """For these rows and columns; a bias is added to the projection, as the weights of a pixel's cells sum to 1."""
    (one, *_), parts = group.maps, group.parts
    cells = [each.values.permute(0, 2, 3, 1) for each in group.maps]
    if group.high_res:
        table, weight = torch.cat(cells, dim=-1), torch.cat([*parts], dim=1)
    else:
        biases = [bias, *[None] * (len(parts) - 1)]
        table, weight = add(F.linear(*each) for each in zip(cells, parts, biases, strict=True)), None
    top, bottom, down = bilinear_neighbours(rows, one.row_centres)
    left, right, across = bilinear_neighbours(columns, one.column_centres)
    return _GridProjection(
        table, weight, bias, top, bottom, down.to(table), left, right, across.to(table), group.nested
    )
