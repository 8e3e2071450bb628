"""Cut large images into windows, and compute the feature maps of one window at a time.

For each window, the backbone processes a crop of the image: the window with margins. The maps of the window equal the
corresponding parts of the whole image's maps, for two reasons. First, the crop contains the receptive fields of all
cells that the window needs. Second, the crop starts at a multiple of the network's shift period. Therefore, the cells
of the crop's maps coincide with cells of the whole image's maps.

In this module, a local tap is a tap that is not a global tap.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor

from hypercolumns.models.alignment import FeatureMap, cells_used
from hypercolumns.models.backbones import Backbone
from hypercolumns.models.backbones.context import context_maps
from hypercolumns.models.seen_images import SeenImages
from hypercolumns.models.slices import round_up, slices_within
from hypercolumns.models.window_sizes import local_grids
from hypercolumns.runtime.memory import return_freed_memory

KEPT_BYTES = 256 << 20  # freed memory that the next window may find in place of new pages, which take time to clear
Area = tuple[slice, slice]  # rows, columns
_Part = tuple[slice, slice, list[tuple[FeatureMap, tuple[slice, slice]]]]  # what `WindowedImages._local_parts` yields


class ImageWindow(NamedTuple):
    """A rectangle of an image, and the maps that the hypercolumns of its pixels are interpolated from.

    Attributes:
        rows: the rectangle's rows of pixels in the image before resizing.
        columns: the rectangle's columns of pixels in the image before resizing.
        maps: one map for each tap, with the centres of the cells in pixels of the whole image before resizing.
    """

    rows: slice
    columns: slice
    maps: list[FeatureMap]


@dataclass(frozen=True)
class WindowedImages:
    """Images that are too large for a backbone to process at once.

    Attributes:
        backbone: a backbone for which `window_margins` is not None.
        seen: the images as the backbone sees them, after resizing and padding.
        boxes: (B, 4), the crop boxes (top, left, height, width), in pixels of `seen`.
        sides: the maximum (height, width) of a window without its margins, in pixels of `seen`.
        located: one item for each tap, first the local taps, then the global taps. It holds the centres of the cells of
            the whole image's map, in pixels of the image before resizing. Its values are empty.
    """

    backbone: Backbone
    seen: SeenImages
    boxes: Tensor
    sides: tuple[int, int]
    located: Sequence[FeatureMap]

    def windows(self, within: Area | None = None) -> Iterator[ImageWindow]:
        """Compute the maps of one window after the other, and yield each window with its maps.

        Args:
            within: the rows and columns of pixels of the images before resizing that the windows cover; None: all.

        Yields:
            Windows that together cover each pixel exactly once. Each window has the maps of all taps.
        """
        global_maps = self._global_maps
        for rows, columns, maps in self._local_parts(within):
            window = ImageWindow(rows, columns, [*(tap_map for tap_map, _ in maps), *global_maps])
            del maps
            yield window
            del window  # frees the memory before the next window is computed

    @cached_property
    def _global_maps(self) -> list[FeatureMap]:
        """The maps of the global taps."""
        global_maps = list(self.located[len(self._local()) :])
        if not global_maps:
            return []
        deepest = self.seen.images.new_empty(len(self.seen.images), 0, 1, 1, dtype=torch.float32)
        contexts = [context for context in self.backbone.contexts if context.is_global]
        if any(context.from_deepest for context in contexts):
            deepest = self._deepest()
        values = context_maps(contexts, deepest, self.seen.size, self.boxes)
        return [tap_map._replace(values=map_values) for tap_map, map_values in zip(global_maps, values, strict=True)]

    def _local(self) -> Sequence[FeatureMap]:
        """Return the items of `located` that belong to local taps."""
        return self.located[: len([tap for tap in self.backbone.taps if not tap.is_global])]

    def _deepest(self) -> Tensor:
        """Compute the values (B, C, h, w) of the deepest map of the whole images, window by window."""
        where = self.backbone.deepest(self._local())
        whole: Tensor | None = None
        for _, _, maps in self._local_parts(None):
            part, (rows, columns) = self.backbone.deepest(maps)
            if whole is None:
                whole = part.values.new_empty(*part.values.shape[:2], len(where.row_centres), len(where.column_centres))
            whole[:, :, rows, columns] = part.values
            del maps, part  # frees the memory before the next window is computed
        assert whole is not None, "there is at least one window"
        return whole

    def _local_parts(self, within: Area | None) -> Iterator[_Part]:
        """Yield the maps of the local taps for one window after the other. `windows` explains the argument.

        Yields:
            (rows, columns, pairs) for each window. The rows and columns are those of the window's pixels in the images
            before resizing. There is one pair for each local tap: the map of the window, and the (rows, columns) of
            cells that this map covers in the whole image's map.
        """
        local, (height, width) = self._local(), self.seen.images.shape[-2:]
        bands, strips = within or (slice(0, height), slice(0, width))
        for rows in slices_within(bands, max(math.floor(self.sides[0] / self.seen.scales[0]), 1)):
            down = self._span(0, rows, [tap_map.row_centres for tap_map in local], height)
            for columns in slices_within(strips, max(math.floor(self.sides[1] / self.seen.scales[1]), 1)):
                across = self._span(1, columns, [tap_map.column_centres for tap_map in local], width)
                if self.seen.images.device.type == "cpu":
                    return_freed_memory(KEPT_BYTES)
                maps = self.backbone.local_maps(self.seen.crop(down.pixels, across.pixels))
                parts = [
                    (
                        FeatureMap(
                            values[:, :, crop_rows, crop_columns],
                            tap_map.row_centres[map_rows],
                            tap_map.column_centres[map_columns],
                        ),
                        (map_rows, map_columns),
                    )
                    for values, tap_map, (crop_rows, map_rows), (crop_columns, map_columns) in zip(
                        maps, local, down.cells, across.cells, strict=True
                    )
                ]
                del maps
                yield rows, columns, parts
                del parts  # frees the memory before the next window is computed

    def _span(self, axis: int, window: slice, centres: Sequence[Tensor], size: int) -> "_Span":
        """Find the crop that the backbone has to process for a window, along one axis.

        Args:
            axis: 0 for y, 1 for x.
            window: the window's pixels along the axis, in the image before resizing.
            centres: for each local tap, the centres (cells,) of the cells of the whole image's map along the axis, in
                pixels of the image before resizing.
            size: the number of pixels of the image along the axis, before resizing.

        Returns:
            The crop, and the cells that the hypercolumns of the window's pixels are interpolated from.
        """
        length, min_side = self.seen.size[axis], self.backbone.min_side
        taps = local_grids(self.backbone, axis)
        assert taps is not None, "images are cut only if `window_margins` is not None"
        # Points of a window may lie up to half a pixel beyond the centres of its outermost pixels. At the border of the
        # image, an infinite end includes all cells that are centred outside of the image.
        ends = torch.tensor(
            [window.start - 0.5 if window.start else -torch.inf, window.stop - 0.5 if window.stop < size else torch.inf]
        )
        needed = [cells_used(ends, line) for line in centres]
        period = self.backbone.shift_period[axis]
        starts, stops = [length], [0]
        for (tap, (before, after)), cells in zip(taps, needed, strict=True):
            starts.append(math.floor(tap.offset + tap.stride * cells.start - before))
            stops.append(math.ceil(tap.offset + tap.stride * (cells.stop - 1) + after) + 1)
        start = max(min(starts), 0) // period * period
        stop = min(round_up(max(stops), self.backbone.multiple), length)
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


@dataclass(frozen=True)
class WholeImages:
    """Images whose maps are computed at once, with the methods of `WindowedImages`.

    Attributes:
        seen: the images as the backbone sees them, after resizing and padding.
        compute: computes the map (B, C_l, h_l, w_l) of each tap of the whole images.
        locate: combines the map of each tap with the centres of its cells, as in `WindowedImages.located`.
    """

    seen: SeenImages
    compute: Callable[[], Sequence[Tensor]]
    locate: Callable[[Sequence[Tensor]], list[FeatureMap]]

    def windows(self, within: Area | None = None) -> Iterator[ImageWindow]:
        """Yield one window with the maps of all taps, see `WindowedImages.windows`."""
        maps = self.locate(self.compute())
        area = within or (slice(0, self.seen.images.shape[-2]), slice(0, self.seen.images.shape[-1]))
        yield ImageWindow(*area, maps)


ImageView = WholeImages | WindowedImages


def whole_maps(backbone: Backbone, seen: SeenImages, boxes: Tensor) -> list[Tensor]:
    """Compute the map (B, C_l, h_l, w_l) of each tap by one run of the backbone.

    Args:
        backbone: the backbone.
        seen: the images as the backbone sees them.
        boxes: (B, 4), the crop boxes (top, left, height, width), in pixels of `seen`.

    Returns:
        The maps.
    """
    maps: list[Tensor] = backbone(seen.crop(slice(0, seen.size[0]), slice(0, seen.size[1])), boxes)
    return maps


class _Span(NamedTuple):
    """One axis of the crop that the backbone processes for a window, and the cells that the window uses.

    Attributes:
        pixels: the crop, in pixels of the images as the backbone sees them.
        cells: for each local tap, the cells that the window's hypercolumns are interpolated from, given twice: as a
            slice of the crop's map, and as a slice of the whole image's map.
    """

    pixels: slice
    cells: list[tuple[slice, slice]]
