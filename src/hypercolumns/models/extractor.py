"""The maps of an image: at once, or in windows where the image is large.

A window's maps are made from the part of the image that its pixels depend on: the cells around them, and what those
cells see (their receptive fields), from a start at which the network's layers are in step with those of the whole
image. So they are the maps of the whole image.
"""

import functools
import math
import warnings
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm

from hypercolumns.coordinates import full_image_box
from hypercolumns.errors import HypercolumnsError
from hypercolumns.models.backbones import Backbone
from hypercolumns.models.hypercolumn import (
    Alignment,
    FeatureMap,
    ImageSize,
    at,
    cells_used,
    locate_maps,
    tap_centres,
)
from hypercolumns.models.slices import even_slices
from hypercolumns.models.taps import RegularGrid

MAX_WINDOW_PIXELS = 1_000_000  # pixels


_Part = tuple[slice, slice, list[tuple[FeatureMap, tuple[slice, slice]]]]  # see `_local_maps`


class ImageWindow(NamedTuple):
    """A rectangle of an image's pixels, and the maps that their hypercolumns are interpolated from."""

    rows: slice
    columns: slice
    maps: list[FeatureMap]


def windows(
    backbone: Backbone,
    images: Tensor,
    alignment: Alignment,
    resize: ImageSize | None = None,
    limit: int = MAX_WINDOW_PIXELS,
    boxes: Tensor | None = None,
) -> Iterator[ImageWindow]:
    """The windows that together are images (B, 3, H, W), uint8 or float in [0, 1].

    `resize` is the (height, width) that the backbone sees the images at; the maps' centres are in pixels of the images
    themselves either way. Images of up to `limit` pixels, as the backbone sees them, are one window; of larger ones the
    windows are about as large as that, margins included; if there are pyramid taps the backbone sees each window twice,
    first for the whole. A network with operations on the whole image can't be cut: it sees all at once, and a warning
    says so. `boxes` are those of crops, see `coordinates`, in pixels of the images.
    """
    size = (images.shape[-2], images.shape[-1])
    seen = images
    if resize is not None and resize != size:
        seen = F.interpolate(as_float(images), resize, mode="bilinear", antialias=True)
    scales = seen.shape[-2] / size[0], seen.shape[-1] / size[1]
    if min(seen.shape[-2:]) < backbone.min_side:
        seen = backbone.pad(as_float(seen))
    area = (seen.shape[-2], seen.shape[-1])
    boxes = (full_image_box(images.shape[-2:]) if boxes is None else boxes).cpu() * torch.tensor([*scales, *scales])
    if area[0] * area[1] > limit:
        margins = _margins(backbone)
        if margins is not None:
            yield from _cut(backbone, seen, size, scales, alignment, _cores(area, margins, limit), boxes)
            return
        warnings.warn(
            f"cnn.network={backbone.network} depends on the whole image, or on much of it, so that one of "
            f"{area[1]}x{area[0]} pixels can't be cut into windows: memory grows with its size",
            stacklevel=2,
        )
    maps = locate_maps(backbone.taps, backbone(as_float(seen), boxes), area, alignment)
    yield ImageWindow(slice(0, size[0]), slice(0, size[1]), [in_image(one, scales) for one in maps])


def hypercolumns_at(
    backbone: Backbone,
    images: Tensor,
    points: Tensor,
    alignment: Alignment,
    resize: ImageSize | None = None,
    limit: int = MAX_WINDOW_PIXELS,
    boxes: Tensor | None = None,
) -> Tensor:
    """The hypercolumns at points (B, N, 2) of images, as (B, N, D); images and boxes as for `windows`."""
    if points.ndim != 3 or len(points) != len(images) or points.shape[2] != 2:
        raise HypercolumnsError(
            f"points must be ({len(images)}, N, 2) for {len(images)} images, not {(*points.shape,)}"
        )
    points = points.cpu().double()
    # A point beyond the border belongs to the window at that border.
    inside = torch.minimum(points.round().clamp(min=0), torch.tensor(images.shape[-2:]) - 1)
    result: Tensor | None = None
    for rows, columns, maps in windows(backbone, images, alignment, resize, limit, boxes):
        within = (inside[..., 0] >= rows.start) & (inside[..., 0] < rows.stop)
        within &= (inside[..., 1] >= columns.start) & (inside[..., 1] < columns.stop)
        if within.all():
            return at(maps, points)
        if result is None:
            result = maps[0].values.new_zeros(*points.shape[:2], sum(one.values.shape[1] for one in maps))
        for image, chosen in enumerate(within):
            found = at(
                [FeatureMap(values[image : image + 1], *where) for values, *where in maps],
                points[image : image + 1, chosen],
            )
            result[image, chosen.to(result.device)] = found[0]
        del maps  # before the next window's are made
    assert result is not None, "there is at least one window"
    return result


def as_float(images: Tensor) -> Tensor:
    """Images, uint8 or float in [0, 1], as float in [0, 1]."""
    return images / 255 if images.dtype == torch.uint8 else images


def in_image(one: FeatureMap, scales: Sequence[float | Tensor]) -> FeatureMap:
    """The same map, its centres in pixels of an image that was resized by these scales."""
    rows, columns = (
        (centres + 0.5) / scale - 0.5
        for centres, scale in zip((one.row_centres, one.column_centres), scales, strict=True)
    )
    return FeatureMap(one.values, rows, columns)


def _regular(backbone: Backbone, axis: int) -> list[tuple[RegularGrid, tuple[float, float]]] | None:
    """The geometry along an axis of each local tap, and its receptive-field extent; None if one has none."""
    found = []
    for tap in backbone.taps:
        if tap.is_global:
            continue
        geometry = tap.axes[axis]
        if not isinstance(geometry, RegularGrid) or geometry.rf_extent is None:
            return None
        found.append((geometry, geometry.rf_extent))
    return found


def _margins(backbone: Backbone) -> tuple[int, int] | None:
    """How many pixels more than its own a window needs, at most, along y and x; None if it needs all."""
    if any(module.training and isinstance(module, _BatchNorm) for module in backbone.body.modules()):
        return None  # its statistics are of the whole image
    margins = []
    for axis, period in enumerate(backbone.shift_period):
        taps = _regular(backbone, axis)
        if taps is None:
            return None
        margins.append(math.ceil(max(sum(extent) + 2 * tap.stride for tap, extent in taps)) + period)
    return margins[0], margins[1]


def _cores(area: ImageSize, margins: tuple[int, int], limit: int) -> tuple[int, int]:
    """The most pixels, along y and x, of a window without its margins.

    Windows are squares, or strips as wide as the image where it is narrow. A limit near the margins can't be kept.
    """
    short = min(area)
    sides = (math.isqrt(limit),) * 2 if short * short > limit else (short, limit // short)
    cores = []
    for length, margin in zip(area, margins, strict=True):
        side = sides[0] if length == short else sides[1]
        cores.append(length if length <= side else max(side - margin, margin))
    return cores[0], cores[1]


def _cut(
    backbone: Backbone,
    seen: Tensor,
    size: ImageSize,
    scales: tuple[float, float],
    alignment: Alignment,
    cores: tuple[int, int],
    boxes: Tensor,
) -> Iterator[ImageWindow]:
    area = (seen.shape[-2], seen.shape[-1])
    placed = [
        in_image(FeatureMap(seen, *tap_centres(tap, cells, area, alignment)), scales)
        for tap, cells in zip(backbone.taps, backbone.map_sizes(*area), strict=True)
    ]
    count = len([tap for tap in backbone.taps if not tap.is_global])
    local, global_maps = placed[:count], placed[count:]
    cut = functools.partial(_local_maps, backbone, seen, size, scales, cores, local)
    if global_maps:
        deepest = seen.new_empty(len(seen), 0, 1, 1, dtype=torch.float32)
        if any(make.is_global and make.from_deepest for make in backbone.contexts):
            deepest = _deepest(backbone, cut(), local)
        made = backbone.global_maps(deepest, area, boxes)
        global_maps = [one._replace(values=values) for one, values in zip(global_maps, made, strict=True)]
    for rows, columns, maps in cut():
        window = ImageWindow(rows, columns, [*(one for one, _ in maps), *global_maps])
        del maps
        yield window
        del window  # before the next one is made


def _deepest(backbone: Backbone, windows: Iterator[_Part], local: Sequence[FeatureMap]) -> Tensor:
    """The deepest map of the whole image, put together from windows; `local` says where its cells are centred."""
    where, whole = backbone.deepest(local), None
    for _, _, maps in windows:
        part, (rows, columns) = backbone.deepest(maps)
        if whole is None:
            whole = part.values.new_empty(*part.values.shape[:2], len(where.row_centres), len(where.column_centres))
        whole[:, :, rows, columns] = part.values
        del maps, part  # before the next window's are made
    assert whole is not None, "there is at least one window"
    return whole


def _local_maps(
    backbone: Backbone,
    seen: Tensor,
    size: ImageSize,
    scales: tuple[float, float],
    cores: tuple[int, int],
    local: Sequence[FeatureMap],
) -> Iterator[_Part]:
    """Of each window its rows and columns, its local maps, and which cells of the whole image's those are.

    `local` says where these are centred in the whole image.
    """
    for rows in even_slices(size[0], max(math.floor(cores[0] / scales[0]), 1)):
        down = _span(backbone, 0, rows, [one.row_centres for one in local], size[0], seen.shape[-2])
        for columns in even_slices(size[1], max(math.floor(cores[1] / scales[1]), 1)):
            across = _span(backbone, 1, columns, [one.column_centres for one in local], size[1], seen.shape[-1])
            maps = backbone.local_maps(as_float(seen[..., down.pixels, across.pixels]))
            parts = [
                (
                    FeatureMap(
                        values[:, :, own_rows, own_columns],
                        one.row_centres[these_rows],
                        one.column_centres[these_columns],
                    ),
                    (these_rows, these_columns),
                )
                for values, one, (own_rows, these_rows), (own_columns, these_columns) in zip(
                    maps, local, down.cells, across.cells, strict=True
                )
            ]
            del maps
            yield rows, columns, parts
            del parts  # before the next window's are made


class _Span(NamedTuple):
    """What a window needs along one axis: pixels; of each tap, cells among those of the pixels and among all."""

    pixels: slice
    cells: list[tuple[slice, slice]]


def _span(backbone: Backbone, axis: int, own: slice, centres: Sequence[Tensor], size: int, length: int) -> _Span:
    """For the pixels `own` of the `size` of the image along the axis, of which the backbone sees `length`."""
    taps = _regular(backbone, axis)
    assert taps is not None, "only what has margins is cut"
    # Points may lie between pixels; and the windows together have all cells, even one centred beyond the border.
    ends = torch.tensor(
        [own.start - 0.5 if own.start else -torch.inf, own.stop - 0.5 if own.stop < size else torch.inf]
    )
    needed = [cells_used(ends, line) for line in centres]
    period = backbone.shift_period[axis]
    starts, stops = [length], [0]
    for (tap, (before, after)), cells in zip(taps, needed, strict=True):
        starts.append(math.floor(tap.offset + tap.stride * cells.start - before))
        stops.append(math.ceil(tap.offset + tap.stride * (cells.stop - 1) + after) + 1)
    start = max(min(starts), 0) // period * period
    stop = min(max(stops), length)
    if stop - start < backbone.min_side:
        start = max(stop - backbone.min_side, 0) // period * period
        stop = max(stop, min(start + backbone.min_side, length))
    skipped = [round(start / tap.stride) for tap, _ in taps]
    return _Span(
        slice(start, stop),
        [
            (slice(cells.start - before, cells.stop - before), cells)
            for cells, before in zip(needed, skipped, strict=True)
        ],
    )
