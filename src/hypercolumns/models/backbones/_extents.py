"""Measure how far the receptive fields of a map's cells reach, by gradients on a stand-in for the network."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from hypercolumns.io.decoding import RGB
from hypercolumns.models.backbones.stand_in import ConstantsOnMeta, GatedMeanPropagation, whole
from hypercolumns.models.slices import round_up

# Lengths in pixels of images for measuring extents. They differ by multiples of all usual strides.
PROBE_SIDES = (256, 1280, 4352)
Maps = Callable[[Tensor], Sequence[Tensor]]  # from images (B, C, H, W) to the maps of a network on the meta device


class UnplacedError(ValueError):
    """The cells of a map have no centres that could be measured. The message says why."""


def rf_extents(
    maps: Maps, thickness: int, axis: int, lines: Sequence[tuple[float, float] | None], multiple: int
) -> list[tuple[float, float] | None]:
    """Measure the extent of the receptive field of each map's middle cell along one axis.

    The measurement uses thin images. Their lengths are `PROBE_SIDES`. A longer image is used only for maps whose
    receptive field reaches the border of the shorter ones.

    Args:
        maps: computes the maps of all taps.
        thickness: how many pixels the thin images have along the other axis.
        axis: 2 (y) or 3 (x).
        lines: the (stride, offset) of each map in pixels; None for a map that has no regular grid.
        multiple: see `cell_grids`.

    Returns:
        For each map, (before, after): how many pixels the receptive field reaches before and after the cell's centre.
        None for a map that has no regular grid, or whose receptive field reaches the border of the longest image.

    Raises:
        UnplacedError: if the gradient of a cell is 0 at all pixels of the image.
    """
    extents: dict[int, tuple[float, float]] = {}
    waiting = {tap: line for tap, line in enumerate(lines) if line is not None}
    for side in [round_up(side, multiple) for side in PROBE_SIDES]:
        if not waiting:
            break
        image = torch.ones(1, RGB, *((thickness, side) if axis == 3 else (side, thickness)), dtype=torch.float64)
        with ConstantsOnMeta():
            results = maps(image.requires_grad_().as_subclass(GatedMeanPropagation))
        for tap, (stride, offset) in list(waiting.items()):
            cells = whole(results[tap]).as_subclass(Tensor).transpose(axis, 3)
            middle = cells.shape[3] // 2
            cell = cells[0, :, cells.shape[2] // 2, middle].sum()
            if cell.isnan():
                del waiting[tap]  # it depends on the whole image
                continue
            first, last = _seen(cell, image, axis)
            if first > 0 and last < side - 1:
                centre = offset + stride * middle
                extents[tap] = round(centre - first, 6), round(last - centre, 6)
                del waiting[tap]
    return [extents.get(tap) for tap, _ in enumerate(lines)]


def _seen(cell: Tensor, image: Tensor, axis: int) -> tuple[int, int]:
    """Return the first and the last pixel, along an axis of an image, that the value of a cell depends on.

    Raises:
        UnplacedError: if the gradient of the cell is 0 at all pixels of the image.
    """
    (gradient,) = torch.autograd.grad(cell, image, retain_graph=True)
    seen = gradient.transpose(axis, 3)[0].sum((0, 1)).nonzero().flatten()
    if not len(seen):
        raise UnplacedError(
            "an operation of the network, such as rounding, has no gradient, so receptive fields can't be measured"
        )
    return int(seen[0]), int(seen[-1])
