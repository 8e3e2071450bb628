"""Compute the reduced maps of a whole image, window by window if it is large."""

from collections.abc import Generator, Iterable

import torch
from torch import Tensor

from hypercolumns.annotation.learning.reduction import STORED, Reduction, TapReduction
from hypercolumns.models.alignment import FeatureMap
from hypercolumns.models.extractor import HypercolumnExtractor, ImageWindow
from hypercolumns.models.windows import WindowedImages

MAX_CELLS = 1 << 16  # cells of a tap that its principal components are computed from, in all windows together


def compute_maps(
    extractor: HypercolumnExtractor, image: Tensor, components: int, reduction: Reduction | None = None
) -> Generator[None, None, tuple[list[FeatureMap], Reduction]]:
    """Compute the map of each tap of an image, and reduce its channels.

    Autograd must be off while the generator runs.

    Args:
        extractor: computes the maps.
        image: (3, H, W), uint8 or float in [0, 1].
        components: the number of channels of a reduced tap at most.
        reduction: the reduction; None: that of this image. A large image is then processed twice.

    Yields:
        None after each window of a large image.

    Returns:
        One map (1, q_l, h_l, w_l) float16 for each tap, on the CPU, with the centres of its cells in pixels of the
        image; and the reduction.
    """
    view = extractor.view(image[None].to(extractor.backbone.device))
    if not isinstance(view, WindowedImages):
        (window,) = view.windows()
        reduction = reduction or (yield from fit_reduction([window], components))
        return reduction.apply(window.maps), reduction
    reduction = reduction or (yield from fit_reduction(view.windows(), components))
    whole: list[FeatureMap] = []
    for window in view.windows():
        reduced = reduction.apply(window.maps)
        if not whole:
            whole = [_empty(located, part) for located, part in zip(view.located, reduced, strict=True)]
        for target, part in zip(whole, reduced, strict=True):
            rows, columns = (_place(line, part_line) for line, part_line in zip(target[1:], part[1:], strict=True))
            target.values[:, :, rows, columns] = part.values
        del window  # frees the memory before the next window is computed
        yield
    return whole, reduction


def fit_reduction(windows: Iterable[ImageWindow], components: int) -> Generator[None, None, Reduction]:
    """Compute the reduction of each tap from the cells of an image.

    Args:
        windows: the windows of the image with their maps.
        components: the number of channels of a reduced tap at most.

    Yields:
        None after each window.

    Returns:
        The reduction.
    """
    cells: list[list[Tensor]] = []
    for window in windows:
        tables = [tap_map.values.float().cpu().permute(0, 2, 3, 1).flatten(0, 2) for tap_map in window.maps]
        if not cells:
            cells = [[] for _ in tables]
        for tap, table in zip(cells, tables, strict=True):
            tap.append(_spread(table, MAX_CELLS // 8).clone())
        del window, tables  # frees the memory before the next window is computed
        yield
    return Reduction([TapReduction.fit(_spread(torch.cat(tap), MAX_CELLS), components) for tap in cells])


def _spread(table: Tensor, count: int) -> Tensor:
    """Return at most `count` rows of a table, evenly spread."""
    return table[:: -(-len(table) // count)]


def _empty(located: FeatureMap, part: FeatureMap) -> FeatureMap:
    """Return a map of the whole image for parts like the given one, with a cell's channels together in memory."""
    size = len(located.row_centres), len(located.column_centres)
    return located._replace(values=torch.empty(1, *size, part.values.shape[1], dtype=STORED).permute(0, 3, 1, 2))


def _place(centres: Tensor, part: Tensor) -> slice:
    """Return which of the cells with these centres a part of them is, along one axis."""
    start = int(torch.searchsorted(centres, part[0]))
    return slice(start, start + len(part))
