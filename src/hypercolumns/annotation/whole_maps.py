"""Compute the maps of a whole image, window by window if it is large."""

from collections.abc import Sequence

import torch
from torch import Tensor

from hypercolumns.models.alignment import FeatureMap
from hypercolumns.models.extractor import HypercolumnExtractor
from hypercolumns.models.windows import WindowedImages

STORED = torch.float16  # dtype of the maps that are kept
MAX_STORED = torch.finfo(STORED).max


def compute_maps(extractor: HypercolumnExtractor, image: Tensor) -> list[FeatureMap]:
    """Compute the map of each tap of an image in half precision, on the CPU.

    Args:
        extractor: computes the maps.
        image: (3, H, W), uint8 or float in [0, 1].

    Returns:
        One map (1, C_l, h_l, w_l) float16 for each tap, with the centres of its cells in pixels of the image.
    """
    view = extractor.view(image[None].to(extractor.backbone.device))
    whole: list[FeatureMap] = []
    for window in view.windows():
        if not isinstance(view, WindowedImages):
            return [tap_map._replace(values=_stored(tap_map.values)) for tap_map in window.maps]
        if not whole:
            whole = [_empty(located, part) for located, part in zip(view.located, window.maps, strict=True)]
        for target, part in zip(whole, window.maps, strict=True):
            rows, columns = (_place(line, part_line) for line, part_line in zip(target[1:], part[1:], strict=True))
            target.values[:, :, rows, columns] = _stored(part.values)
        del window  # frees the memory before the next window is computed
    return whole


def _stored(values: Tensor) -> Tensor:
    """Return values in half precision, on the CPU, with the channels of a cell next to each other in memory."""
    clamped = values.clamp(-MAX_STORED, MAX_STORED).to("cpu", STORED)
    return clamped.contiguous(memory_format=torch.channels_last)


def _empty(located: FeatureMap, part: FeatureMap) -> FeatureMap:
    shape = 1, part.values.shape[1], len(located.row_centres), len(located.column_centres)
    return located._replace(values=torch.empty(shape, dtype=STORED, memory_format=torch.channels_last))


def _place(centres: Tensor, part: Tensor) -> slice:
    """Return the slice of the cells with these centres that a part of them is, along one axis."""
    start = int(torch.searchsorted(centres, part[0]))
    return slice(start, start + len(part))


def as_float(maps: Sequence[FeatureMap]) -> list[FeatureMap]:
    """Return maps with float32 values."""
    return [tap_map._replace(values=tap_map.values.float()) for tap_map in maps]
