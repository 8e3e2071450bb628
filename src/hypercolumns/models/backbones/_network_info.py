"""Find the properties of a network and its taps from the architecture alone, without the values of the weights.

The weights are on the meta device, where tensors have shapes, but no values.
"""

import bisect
import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.fx import GraphModule

from hypercolumns.models.backbones import _fx, networks
from hypercolumns.models.backbones.receptive_field import Maps, cell_grids, shift_periods
from hypercolumns.models.taps import Tap

# Sides of square images in pixels, tried in this order. The first side for which every map has a cell is at least
# `NetworkInfo.min_side`.
CANDIDATE_SIDES = [2**power for power in range(10)]
HashableTapModules = tuple[tuple[str, ...], ...]


class NetworkInfo(NamedTuple):
    """The properties of a network and its taps, as far as the architecture alone determines them.

    The values of the weights make no difference.

    Attributes:
        min_side: the minimum height and width of an image that the network accepts, in pixels.
        shift_period: (along y, along x), in pixels. If an image is shifted along an axis by a multiple of the axis's
            number, all maps shift by whole cells.
        layers: one `Tap` for each tap on modules of the network. Context taps are not included.
    """

    min_side: int
    shift_period: tuple[int, int]
    layers: tuple[Tap, ...]


# The results of `network_info` are kept, because stages build the same backbones often. The key holds the network's
# name, its constructor if the network is in `networks.OWN` (else None), and the paths of each tap's modules. The
# constructor is part of the key, because a program may put another constructor under the same name into `networks.OWN`.
CACHE: dict[tuple[str, Callable[[], nn.Module] | None, HashableTapModules], NetworkInfo] = {}


def network_info(network: str, skeleton: GraphModule, tap_modules: HashableTapModules) -> NetworkInfo:
    """Return the properties of a network and its taps, from `CACHE` if they are known already.

    Args:
        network: the name of the network.
        skeleton: the network up to its last tap, on the meta device.
        tap_modules: for each tap, the paths of the tap's modules.

    Returns:
        The properties.

    Raises:
        ArgumentError: if the network does not compute maps (B, C, h, w) with a fixed C for images of every size, or if
            the centres of the maps' cells can't be determined.
    """
    key = network, networks.OWN.get(network), tap_modules
    if key not in CACHE:
        CACHE[key] = _derive(network, skeleton, tap_modules)
    return CACHE[key]


def map_shapes(skeleton: GraphModule, tap_modules: HashableTapModules, height: int, width: int) -> list[torch.Size]:
    """Compute the shapes of the taps' maps for one image of a given size.

    Args:
        skeleton: the network up to its last tap, on the meta device.
        tap_modules: for each tap, the paths of the tap's modules.
        height: the height of the image, in pixels.
        width: the width of the image, in pixels.

    Returns:
        The shape (1, C_l, h_l, w_l) of each tap's map.
    """
    return [cells.shape for cells in _maps(skeleton, tap_modules)(torch.empty(1, 3, height, width, device="meta"))]


def _maps(skeleton: GraphModule, tap_modules: HashableTapModules) -> Maps:
    # A call of `skeleton` itself, in place of `skeleton.forward`, would print a traceback before it raises an error.
    return functools.partial(_fx.run_body, skeleton.forward, tap_modules)


def _derive(network: str, skeleton: GraphModule, tap_modules: HashableTapModules) -> NetworkInfo:
    shapes: Any = functools.partial(map_shapes, skeleton, tap_modules)
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
    layers = [Tap(modules[0], shape[1], both) for modules, shape, both in zip(tap_modules, small, axes, strict=True)]
    return NetworkInfo(side, shift_periods(skeleton), tuple(layers))


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
