"""Cutting images into windows that a backbone sees one after the other.

A window's maps are made from the part of the image that its pixels depend on: the cells around them, and what those
cells see (their receptive fields), from a start at which the network's layers are in step with those of the whole
image. So they are the maps of the whole image.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm

from hypercolumns.coordinates import ImageSize
from hypercolumns.models.alignment import FeatureMap, cells_used
from hypercolumns.models.backbones import Backbone, as_float
from hypercolumns.models.slices import even_slices
from hypercolumns.models.taps import RegularGrid

_Part = tuple[slice, slice, list[tuple[FeatureMap, tuple[slice, slice]]]]  # see `WindowedImages._local_parts`


class ImageWindow(NamedTuple):
    """A rectangle of an image's pixels, and the maps that their hypercolumns are interpolated from."""

    rows: slice
    columns: slice
    maps: list[FeatureMap]


def window_margins(backbone: Backbone) -> tuple[int, int] | None:
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


def window_sides(area: ImageSize, margins: tuple[int, int], limit: int) -> tuple[int, int]:
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


@dataclass(frozen=True)
class WindowedImages:
    """Images that are too large for a backbone to see at once.

    Attributes:
        backbone: one with margins, see `window_margins`.
        seen: the images as it sees them, (B, 3, h, w).
        size: (height, width) of the images themselves.
        scales: of their height and width, by which they were resized.
        sides: the most pixels, along y and x, of a window without its margins.
        located: of each tap, where the cells of the whole image's map are centred; its values are none.
    """

    backbone: Backbone
    seen: Tensor
    size: ImageSize
    scales: tuple[float, float]
    sides: tuple[int, int]
    located: Sequence[FeatureMap]

    def windows(self, boxes: Tensor) -> Iterator[ImageWindow]:
        """The windows, one after the other; `boxes` (B, 4) in pixels of `seen`."""
        local_count = len(self._local())
        global_maps = list(self.located[local_count:])
        if global_maps:
            size = (self.seen.shape[-2], self.seen.shape[-1])
            deepest = self.seen.new_empty(len(self.seen), 0, 1, 1, dtype=torch.float32)
            if any(make.is_global and make.from_deepest for make in self.backbone.contexts):
                deepest = self._deepest()
            made = self.backbone.global_maps(deepest, size, boxes)
            global_maps = [one._replace(values=values) for one, values in zip(global_maps, made, strict=True)]
        for rows, columns, maps in self._local_parts():
            window = ImageWindow(rows, columns, [*(one for one, _ in maps), *global_maps])
            del maps
            yield window
            del window  # before the next one is made

    def _local(self) -> Sequence[FeatureMap]:
        """Of the local taps, where the cells of the whole image's maps are centred."""
        return self.located[: len([tap for tap in self.backbone.taps if not tap.is_global])]

    def _deepest(self) -> Tensor:
        """The deepest map of the whole image, put together from windows."""
        where = self.backbone.deepest(self._local())
        whole: Tensor | None = None
        for _, _, maps in self._local_parts():
            part, (rows, columns) = self.backbone.deepest(maps)
            if whole is None:
                whole = part.values.new_empty(*part.values.shape[:2], len(where.row_centres), len(where.column_centres))
            whole[:, :, rows, columns] = part.values
            del maps, part  # before the next window's are made
        assert whole is not None, "there is at least one window"
        return whole

    def _local_parts(self) -> Iterator[_Part]:
        """Of each window its rows and columns, its local maps, and which cells of the whole image's those are."""
        local, height, width = self._local(), *self.size
        for rows in even_slices(height, max(math.floor(self.sides[0] / self.scales[0]), 1)):
            down = self._span(0, rows, [one.row_centres for one in local], height)
            for columns in even_slices(width, max(math.floor(self.sides[1] / self.scales[1]), 1)):
                across = self._span(1, columns, [one.column_centres for one in local], width)
                maps = self.backbone.local_maps(as_float(self.seen[..., down.pixels, across.pixels]))
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

    def _span(self, axis: int, own: slice, centres: Sequence[Tensor], size: int) -> "_Span":
        """For the pixels `own` of the `size` of the image along the axis."""
        length, min_side = self.seen.shape[axis - 2], self.backbone.min_side
        taps = _regular(self.backbone, axis)
        assert taps is not None, "only what has margins is cut"
        # Points may lie between pixels; and the windows together have all cells, even one centred beyond the border.
        ends = torch.tensor(
            [own.start - 0.5 if own.start else -torch.inf, own.stop - 0.5 if own.stop < size else torch.inf]
        )
        needed = [cells_used(ends, line) for line in centres]
        period = self.backbone.shift_period[axis]
        starts, stops = [length], [0]
        for (tap, (before, after)), cells in zip(taps, needed, strict=True):
            starts.append(math.floor(tap.offset + tap.stride * cells.start - before))
            stops.append(math.ceil(tap.offset + tap.stride * (cells.stop - 1) + after) + 1)
        start = max(min(starts), 0) // period * period
        stop = min(max(stops), length)
        if stop - start < min_side:
            start = max(stop - min_side, 0) // period * period
            stop = max(stop, min(start + min_side, length))
        skipped = [round(start / tap.stride) for tap, _ in taps]
        return _Span(
            slice(start, stop),
            [
                (slice(cells.start - before, cells.stop - before), cells)
                for cells, before in zip(needed, skipped, strict=True)
            ],
        )


class _Span(NamedTuple):
    """What a window needs along one axis: pixels; of each tap, cells among those of the pixels and among all."""

    pixels: slice
    cells: list[tuple[slice, slice]]


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
