"""Classify the pixels of images of any size, row by row, in a graph that can be exported.

Each row of pixels is one step of `scan`, an operator that both torch.export and ONNX have. Interpolated activations
with K channels therefore exist for one row of pixels at a time. With two rows in each step, small images would be a
little faster, and wide images would be slower, because two wide rows do not fit into the cache.

Shapes: B images of H x W pixels; the map of tap l has C_l channels; each map of a group (see `TapGroup`) has h x w
cells; the first layer has K outputs.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch._higher_order_ops.scan import scan

from hypercolumns.coordinates import PixelCoordinates
from hypercolumns.models.alignment import FeatureMap, bilinear_neighbours
from hypercolumns.models.engine.levels import add

# From the first layer's output and the coordinates of pixels to logits, see `Classifier.head`.
ScanHead = Callable[[Tensor, PixelCoordinates], Tensor]


class TapGroup(NamedTuple):
    """A group of maps whose cells have equal centres, with the parts of the first layer's weight for these maps.

    Attributes:
        maps: the maps of one or more taps.
        parts: for each map, the part (K, C_l) of the weight.
        high_res: whether the maps are interpolated along y before they are projected, one row of pixels at a time. If
            false, the whole maps are projected before any interpolation.
        nested: whether each column of the group's cells has the same centre as a column of the next group's cells. If
            so, the group is interpolated along x only at the columns of the next group's cells, and the two groups are
            added there. The logits are the same as without nesting, with less work for each pixel.
    """

    maps: Sequence[FeatureMap]
    parts: Sequence[Tensor]
    high_res: bool
    nested: bool


class _GridProjection(NamedTuple):
    """A group of maps, prepared for the scan: a table of values, and the cells between which each pixel lies.

    The group is interpolated at target rows and target columns. The H target rows are the rows of pixels. The n target
    columns are the columns of pixels or, for a nested group, the columns of the next group's cells.
    `bilinear_neighbours` finds the cells around them.

    Attributes:
        table: the values of the cells. For a group with `high_res`, the concatenated maps (B, h, w, C), where C is the
            sum of the maps' channels; for other groups, the sum (B, h, w, K) of the maps' projections.
        weight: (K, C), the weight that projects `table`; None for a group without `high_res`.
        bias: (K,), the bias of the classifier's first layer. Only the first group has it; None for the other groups.
        top: (H,), the index of the row of cells above each target row.
        bottom: (H,), the index of the row of cells below each target row.
        down: (H,), the weight, from 0 to 1, of the row of cells below each target row.
        left: (n,), the index of the column of cells to the left of each target column.
        right: (n,), the index of the column of cells to the right of each target column.
        across: (n,), the weight, from 0 to 1, of the column of cells to the right of each target column.
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
    """Compute `head(weight . hypercolumn + bias, coordinates)` for all pixels of a batch of images.

    Args:
        groups: the maps with their parts of the first layer's weight. A nested group is added to the group after it,
            so the last group must not be nested.
        bias: (K,), the bias of the first layer.
        head: computes logits from the first layer's output and the pixels' coordinates, see `Classifier.head`.
        where: the normalised coordinates of the rows (H,) and of the columns (W,) of pixels.

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

    # ONNX's exporter expects that a step has as many inputs as there are values carried over from the step before. Each
    # step has one input, the index of its row, so one value is carried over: a counter that nothing reads.
    _, logits = scan(classified, torch.zeros(1), torch.arange(height)[:, None])
    pixels: Tensor = logits[:, :, 0].movedim(0, 1)  # logits are (H, B, 1, W, classes)
    return pixels


def _project_group(group: TapGroup, rows: Tensor, columns: Tensor, bias: Tensor | None) -> _GridProjection:
    """Prepare a group of maps for the scan. `TapGroup` and `_GridProjection` explain the terms.

    With `high_res`, the table holds the concatenated maps, and each step of the scan projects the rows that it needs.
    Without `high_res`, the table holds the sum of the maps' projections, with the bias added. The bias may be added
    before the interpolation, because the weights of the cells around a pixel sum to 1.

    Args:
        group: the group.
        rows: (H,), the y of the rows of pixels, in pixels.
        columns: (n,), the x of the columns at which the group is interpolated, in pixels: the columns of pixels or, if
            the group is nested (see `TapGroup`), the columns of the next group's cells.
        bias: (K,), the bias of the classifier's first layer. Only the first group gets it; None for the other groups.
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
