"""Whether large images can be cut into windows for a backbone, and how large the windows and their margins are.

In this module, a local tap is a tap that is not a global tap.
"""

import math

from torch.nn.modules.batchnorm import _BatchNorm

from hypercolumns.coordinates import ImageSize
from hypercolumns.models.backbones import Backbone
from hypercolumns.models.taps import RegularGrid


def window_margins(backbone: Backbone) -> tuple[int, int] | None:
    """Compute by how many pixels the margins enlarge a window at most, along y and along x.

    Along each axis, this is the sum of the margins on both sides of the window.

    Returns:
        (along y, along x), in pixels of the image that the backbone processes. None if images can't be cut into
        windows. This is the case if the map of a local tap may depend on the whole image, if the cells of a local tap
        are not equally spaced, or if a BatchNorm layer is in training mode.
    """
    if trains_batch_norm(backbone):
        return None
    margins = []
    for axis, period in enumerate(backbone.shift_period):
        taps = local_grids(backbone, axis)
        if taps is None:
            return None
        margins.append(math.ceil(max(sum(extent) + 2 * tap.stride for tap, extent in taps)) + period)
    return margins[0], margins[1]


def trains_batch_norm(backbone: Backbone) -> bool:
    """Return whether a BatchNorm layer is in training mode: it takes its statistics from the whole image."""
    return any(module.training and isinstance(module, _BatchNorm) for module in backbone.body.modules())


def sees_parts(backbone: Backbone) -> bool:
    """Return whether the maps of windows equal those of the whole image, if no BatchNorm layer is in training mode."""
    return all(local_grids(backbone, axis) is not None for axis in (0, 1))


def window_sides(area: ImageSize, margins: tuple[int, int], limit: int) -> tuple[int, int]:
    """Choose the maximum height and width of the windows.

    A window with its margins is a square of about `limit` pixels. In a narrow image, whose shorter side is not longer
    than the side of such a square, a window is a strip of about `limit` pixels that spans the shorter side. There is
    also a minimum: along an axis on which the image is cut, a window is at least as long as its two margins together.
    Therefore, a window with large margins may have more than `limit` pixels.

    Args:
        area: (height, width) of the images as the backbone sees them, in pixels.
        margins: (along y, along x), the result of `window_margins`.
        limit: the desired maximum number of pixels of a window with its margins.

    Returns:
        The maximum (height, width) of a window without its margins, in pixels.
    """
    short = min(area)
    sides = (math.isqrt(limit),) * 2 if short * short > limit else (short, limit // short)
    cores = []
    for length, margin in zip(area, margins, strict=True):
        side = sides[0] if length == short else sides[1]
        cores.append(length if length <= side else max(side - margin, margin))
    return cores[0], cores[1]


def local_grids(backbone: Backbone, axis: int) -> list[tuple[RegularGrid, tuple[float, float]]] | None:
    """Return the grid and the receptive-field extent (before, after) of each local tap, along one axis.

    The result is None if the cells of a local tap are not equally spaced, or if a receptive field may span the whole
    image.
    """
    grids = []
    for tap in backbone.taps:
        if tap.is_global:
            continue
        geometry = tap.axes[axis]
        if not isinstance(geometry, RegularGrid) or geometry.rf_extent is None:
            return None
        grids.append((geometry, geometry.rf_extent))
    return grids
