"""Approximate the maps of a large image by those of overlapping windows, blended linearly where the windows overlap.

Networks that see the whole image, such as those with attention, give other maps for a window than for the image. This
module therefore computes something else than the maps of the whole image, in bounded memory. A cell of the whole
image's map is the weighted mean of this cell in the maps of all windows that have it. Along each axis, the weight of a
window rises linearly from one end of an overlap to the other, so that no seam appears.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from hypercolumns.coordinates import ImageSize
from hypercolumns.errors import ArgumentError, check_int
from hypercolumns.models.backbones import Backbone
from hypercolumns.models.backbones.context import context_maps
from hypercolumns.models.seen_images import SeenImages
from hypercolumns.models.slices import round_up
from hypercolumns.models.taps import RegularGrid
from hypercolumns.models.window_sizes import sees_parts, window_sides

MIN_WEIGHT = 1e-6  # of a window at the end of an overlap; the weights of a cell are divided by their sum


@dataclass(frozen=True)
class AxisWindow:
    """One axis of a window, and the weights of its cells.

    Attributes:
        pixels: the pixels of the window, in pixels of the images as the backbone sees them.
        cells: for each tap on modules, the cells of the whole image's map that the window has.
        weights: for each tap on modules, the weights (cells,) float32 of these cells. The weights of a cell in all
            windows sum to 1.
    """

    pixels: slice
    cells: list[slice]
    weights: list[Tensor]


Observe = Callable[[AxisWindow, AxisWindow, Sequence[Tensor]], None]


def check_window_overlap(backbone: Backbone, overlap: int) -> None:
    """Check that overlapping windows make sense for a backbone.

    Args:
        backbone: the backbone.
        overlap: the argument `window_overlap` of the extractor, in pixels.

    Raises:
        ArgumentError: if `overlap` is not a number of pixels from 1, or the backbone needs no overlapping windows or
            can't work in them.
    """
    check_int("window_overlap", overlap, minimum=1)
    if sees_parts(backbone):
        raise ArgumentError(
            f"window_overlap={overlap} is an approximation that {backbone.network} does not need: its windows give the "
            f"same maps as the whole image; set window_overlap=null"
        )
    if backbone.fixed_size is not None:
        height, width = backbone.fixed_size
        raise ArgumentError(
            f"window_overlap={overlap} does not work with {backbone.network}, which takes images of {width}x{height} "
            f"pixels only, so that every image is resized to this size; set window_overlap=null"
        )
    for tap in backbone.layer_taps:
        if not all(isinstance(axis, RegularGrid) for axis in tap.axes):
            raise ArgumentError(
                f"window_overlap={overlap} does not work with tap {tap.name} of {backbone.network}, whose cells are "
                f"not equally spaced; leave out this tap, or set window_overlap=null"
            )


def plan_windows(backbone: Backbone, size: ImageSize, limit: int, overlap: int) -> list[list[AxisWindow]]:
    """Choose overlapping windows that cover an image.

    A window has at most `limit` pixels. Its sides and its position are multiples of the network's shift period and of
    the network's `multiple`; only the last window along an axis may be shorter. All other windows along the axis have
    the same side, so that the network resizes position embeddings alike.

    Args:
        backbone: a backbone that `check_window_overlap` accepts.
        size: (height, width) in pixels of the images as the backbone sees them.
        limit: the maximum number of pixels of a window.
        overlap: the minimum number of pixels that neighbouring windows share.

    Returns:
        The windows along y and the windows along x. Each pair of one of each is a window.

    Raises:
        ArgumentError: if windows of at most `limit` pixels are too small for the overlap or for the network.
    """
    periods = [math.lcm(period, backbone.multiple) for period in backbone.shift_period]
    sides = [
        length if side >= length else side // period * period
        for side, length, period in zip(window_sides(size, (0, 0), limit), size, periods, strict=True)
    ]
    shared = [round_up(overlap, period) for period in periods]
    for side, length, common, period in zip(sides, size, shared, periods, strict=True):
        if side < length and (side < 2 * common or side < backbone.min_side + period):
            raise ArgumentError(
                f"window_overlap={overlap} does not fit windows of max_window_pixels={limit} pixels, whose sides are "
                f"{side} pixels: a side must be at least twice the overlap, rounded up to {common} pixels, and at "
                f"least {backbone.min_side + period} pixels; lower window_overlap, or raise max_window_pixels"
            )
    return [
        _axis_windows(backbone, axis, _spans(length, side, common, period), (sides[0], sides[1]), size)
        for axis, (length, side, common, period) in enumerate(zip(size, sides, shared, periods, strict=True))
    ]


def blended_maps(
    backbone: Backbone,
    seen: SeenImages,
    boxes: Tensor,
    windows: list[list[AxisWindow]],
    observe: Observe | None = None,
) -> list[Tensor]:
    """Compute the map of each tap of the backbone, blended from overlapping windows.

    Args:
        backbone: the backbone.
        seen: the images as the backbone sees them.
        boxes: (B, 4), the crop boxes (top, left, height, width), in pixels of `seen`.
        windows: the result of `plan_windows` for `seen.size`.
        observe: called with one axis of each window, the other one, and its maps before they are blended; None: no
            call.

    Returns:
        One map (B, C_l, h_l, w_l) for each tap, of the sizes that the whole images would have. Context taps are made
        from the blended deepest map.
    """
    blended: list[Tensor] = []
    cells = backbone.map_sizes(*seen.size)
    for down in windows[0]:
        for across in windows[1]:
            maps = backbone.layer_maps(seen.crop(down.pixels, across.pixels))
            if not blended:
                blended = [
                    values.new_zeros(*values.shape[:2], *size).to(memory_format=torch.channels_last)
                    for values, size in zip(maps, cells, strict=False)
                ]
            if observe is not None:
                observe(down, across, maps)
            for number, (whole, values) in enumerate(zip(blended, maps, strict=True)):
                weights = down.weights[number][:, None] * across.weights[number]
                whole[:, :, down.cells[number], across.cells[number]] += values * weights.to(values)
            del maps  # frees the memory before the next window is computed
    return [*blended, *context_maps(backbone.contexts, blended[-1], seen.size, boxes)]


def _spans(length: int, side: int, overlap: int, period: int) -> list[slice]:
    """Return the pixels of the windows along one axis.

    Args:
        length: the number of pixels along the axis.
        side: the maximum number of pixels of a window; a multiple of `period` unless it is `length`.
        overlap: the minimum number of pixels that neighbouring windows share; a multiple of `period`.
        period: windows start at multiples of this number of pixels.

    Returns:
        Slices that cover the axis, in rising order.
    """
    if side >= length:
        return [slice(0, length)]
    rest = length - side
    steps = -(-rest // (side - overlap))
    starts = [-(-rest * number // (steps * period)) * period for number in range(steps + 1)]
    return [slice(start, min(start + side, length)) for start in starts]


def _axis_windows(
    backbone: Backbone, axis: int, spans: list[slice], sides: ImageSize, size: ImageSize
) -> list[AxisWindow]:
    """Find the cells of the windows along one axis, and their weights.

    Args:
        backbone: the backbone.
        axis: 0 for y, 1 for x.
        spans: the pixels of the windows along the axis.
        sides: the maximum (height, width) of a window, in pixels.
        size: (height, width) of the images as the backbone sees them, in pixels.

    Returns:
        One item for each of `spans`.

    Raises:
        ArgumentError: if a cell of the whole image is in no window.
    """
    windows = [AxisWindow(span, [], []) for span in spans]
    for number, tap in enumerate(backbone.layer_taps):
        grid, total = tap.axes[axis], backbone.map_sizes(*size)[number][axis]
        assert isinstance(grid, RegularGrid), "`check_window_overlap` refuses other taps"
        sums = torch.zeros(total)
        for index, window in enumerate(windows):
            length = window.pixels.stop - window.pixels.start
            shape = (length, sides[1]) if axis == 0 else (sides[0], length)
            first = round(window.pixels.start / grid.stride)
            cells = slice(first, min(first + backbone.map_sizes(*shape)[number][axis], total))
            centres = grid.offset + grid.stride * torch.arange(cells.start, cells.stop) + 0.5
            weights = _weights(centres, index, spans)
            sums[cells] += weights
            window.cells.append(cells)
            window.weights.append(weights)
        if not sums.all():
            raise ArgumentError(
                f"window_overlap leaves cells of tap {tap.name} of {backbone.network} in no window; raise it"
            )
        for window in windows:
            window.weights[number] /= sums[window.cells[number]]
    return windows


def _weights(centres: Tensor, index: int, spans: list[slice]) -> Tensor:
    """Return the weights of the cells of a window along one axis, before they are divided by their sums.

    Args:
        centres: (cells,), the centres of the window's cells, in pixels from the edge of the image.
        index: which of `spans` is the window.
        spans: the pixels of all windows along the axis.

    Returns:
        (cells,) float32.
    """
    weights, span = torch.ones(len(centres)), spans[index]
    if index > 0:
        weights *= ((centres - span.start) / (spans[index - 1].stop - span.start)).clamp(MIN_WEIGHT, 1)
    if index < len(spans) - 1:
        weights *= ((span.stop - centres) / (span.stop - spans[index + 1].start)).clamp(MIN_WEIGHT, 1)
    return weights
