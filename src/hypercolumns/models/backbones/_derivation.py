"""Derive the properties of a network and its taps from the architecture alone, without the values of the weights.

The weights are on the meta device, where tensors have shapes, but no values.
"""

import bisect
import functools
from collections.abc import Callable, Sequence

import torch
from torch.fx import GraphModule

from hypercolumns.io.decoding import RGB
from hypercolumns.models.backbones import _fx, _mixing, networks
from hypercolumns.models.backbones._network_info import NetworkInfo, TapModules
from hypercolumns.models.backbones.receptive_field import Maps, cell_grids, shift_periods
from hypercolumns.models.taps import RegularGrid, Tap

# Sides of square images in pixels, tried in this order. The first side for which every map has a cell is at least
# `NetworkInfo.min_side`.
CANDIDATE_SIDES = [2**power for power in range(10)]
MAX_PERIOD = 256  # the longest shift period, in pixels, for which formulas of the maps' sizes are looked for


def _maps(skeleton: GraphModule, tap_modules: TapModules) -> Maps:
    # A call of `skeleton` itself, in place of `skeleton.forward`, would print a traceback before it raises an error.
    return functools.partial(_fx.run_body, skeleton.forward, tap_modules)


def derive(network: str, skeleton: GraphModule, tap_modules: TapModules, channels: int = RGB) -> NetworkInfo:
    """Derive the properties of a network and its taps from the network's layers.

    Args:
        network: the name of the network, for error messages.
        skeleton: the network up to its last tap, on the meta device.
        tap_modules: for each tap, the paths of the tap's modules.
        channels: the number of channels of the images.

    Returns:
        The properties.

    Raises:
        ArgumentError: if the network does not compute maps (B, C, h, w) with a fixed C for images of every size, or if
            the centres of the maps' cells can't be determined.
    """
    run = _fx.RememberedShapes(skeleton)

    def shapes(height: int, width: int) -> list[torch.Size]:
        image = torch.empty(1, channels, height, width, device="meta")
        return [cells.shape for cells in _fx.run_body(run, tap_modules, image)]

    side = _min_side(shapes)
    try:
        small, large = shapes(side, side), shapes(2 * side + 13, 3 * side + 17)
    except Exception as error:
        raise networks.unusable(network, "it does not compute maps for images of every size", error) from error
    for modules, small_shape, large_shape in zip(tap_modules, small, large, strict=True):
        if len(small_shape) != 4 or small_shape[1] != large_shape[1]:
            reason = (
                f"the map of tap {modules[0]} must have the shape (batch, channels, height, width), with the same "
                f"number of channels for images of every size, but has the shapes {(*small_shape,)} and "
                f"{(*large_shape,)} for images of two sizes"
            )
            raise networks.unusable(network, reason)
    try:
        axes = cell_grids(_maps(skeleton, tap_modules), side)
    except Exception as error:
        raise networks.unusable(network, "the centres of its maps' cells can't be determined", error) from error
    valued = _mixing.with_values(skeleton)
    axes = _mixing.without_extents_of_mixing(_maps(valued, tap_modules), axes, side, channels=channels)
    layers = [Tap(modules[0], shape[1], both) for modules, shape, both in zip(tap_modules, small, axes, strict=True)]
    periods = shift_periods(skeleton, channels)
    return NetworkInfo(side, periods, tuple(layers), tuple(_size_offsets(shapes, side, max(periods), layers)))


def _size_offsets(
    shapes: Callable[[int, int], list[torch.Size]], min_side: int, period: int, layers: Sequence[Tap]
) -> list[tuple[int, int] | None]:
    """Find the numbers `NetworkInfo.size_offsets`.

    If an image grows by one shift period, each map grows by a fixed number of cells. A formula therefore holds for all
    sizes if it holds for the sizes of one period.

    Args:
        shapes: computes the shapes of the maps from the height and the width of an image, in pixels.
        min_side: the minimum side of an image, in pixels.
        period: the larger one of the shift periods, in pixels.
        layers: the taps.

    Returns:
        One item for each tap.
    """
    if period > MAX_PERIOD:
        return [None] * len(layers)
    sides = range(min_side, min_side + period)
    try:
        counts = [[(shape[2], shape[3]) for shape in shapes(side, side)] for side in sides]
    except Exception:  # a network can refuse single sizes, and a formula would not
        return [None] * len(layers)
    offsets: list[tuple[int, int] | None] = []
    for number, tap in enumerate(layers):
        both = []
        for axis, grid in enumerate(tap.axes):
            if not isinstance(grid, RegularGrid) or grid.stride % 1:
                break
            stride = int(grid.stride)
            seen = [(side, each[number][axis]) for side, each in zip(sides, counts, strict=True)]
            # A map that gains its next cell at this side has exactly `count * stride = side + offset`.
            offset = max(count * stride - side for side, count in seen)
            if any((side + offset) // stride != count for side, count in seen):
                break
            both.append(offset)
        offsets.append((both[0], both[1]) if len(both) == 2 else None)
    return offsets


def _min_side(shapes: Callable[[int, int], list[torch.Size]]) -> int:
    """Return the side, in pixels, of the smallest square image for which every map has at least one cell.

    If an image with the largest side in `CANDIDATE_SIDES` is still too small, return this largest side.

    Args:
        shapes: computes the shapes of the maps from the height and the width of an image, in pixels.
    """

    def works(side: int) -> bool:
        try:
            return all(0 not in shape for shape in shapes(side, side))
        except Exception:  # torch and the networks raise many kinds of errors for images that are too small
            return False

    enough = next((side for side in CANDIDATE_SIDES if works(side)), CANDIDATE_SIDES[-1])
    return bisect.bisect_left(range(enough), True, lo=enough // 2 + 1, key=works)
