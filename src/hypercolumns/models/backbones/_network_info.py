"""Properties of a network and its taps that do not depend on the weights, found by running it on the meta device."""

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

CANDIDATE_SIDES = [2**power for power in range(10)]  # pixels; the first side that works is an upper limit of min_side
HashableTapModules = tuple[tuple[str, ...], ...]


class NetworkInfo(NamedTuple):
    """Properties of a network and its taps.

    Attributes:
        min_side: see `Backbone`.
        shift_period: see `Backbone`.
        layers: the taps on modules of the network, without context taps.
    """

    min_side: int
    shift_period: tuple[int, int]
    layers: tuple[Tap, ...]


# Stages build the same backbones often. The key includes the constructor of a network in `networks.OWN`, because that
# table may get another constructor under the same name.
CACHE: dict[tuple[str, Callable[[], nn.Module] | None, HashableTapModules], NetworkInfo] = {}


def network_info(network: str, skeleton: GraphModule, tap_modules: HashableTapModules) -> NetworkInfo:
    """Derive the properties of a network and its taps, or return them from the cache.

    Args:
        network: the name of the network.
        skeleton: the network up to its last tap, on the meta device.
        tap_modules: the paths of each tap's modules.

    Returns:
        The properties.

    Raises:
        ArgumentError: if the network cannot be a backbone.
    """
    key = network, networks.OWN.get(network), tap_modules
    if key not in CACHE:
        CACHE[key] = _derive(network, skeleton, tap_modules)
    return CACHE[key]


def map_shapes(skeleton: GraphModule, tap_modules: HashableTapModules, height: int, width: int) -> list[torch.Size]:
    """Compute the shapes of the taps' maps for one image of a given size.

    Args:
        skeleton: the network up to its last tap, on the meta device.
        tap_modules: the paths of each tap's modules.
        height: of the image, in pixels.
        width: of the image, in pixels.

    Returns:
        (1, C_l, h_l, w_l), one for each tap.
    """
    return [cells.shape for cells in _maps(skeleton, tap_modules)(torch.empty(1, 3, height, width, device="meta"))]


def _maps(skeleton: GraphModule, tap_modules: HashableTapModules) -> Maps:
    # If an error is raised, calling the GraphModule itself would print a traceback first; calling `forward` does not.
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
                f"{modules[0]} must return (batch, channels, height, width), with the same channels for all images, "
                f"but returns {(*large_shape,)}"
            )
            raise networks.unusable(network, reason)
    try:
        axes = cell_grids(_maps(skeleton, tap_modules), side)
    except Exception as error:
        raise networks.unusable(network, "the centres of its maps' cells can't be determined", error) from error
    layers = [Tap(modules[0], shape[1], both) for modules, shape, both in zip(tap_modules, small, axes, strict=True)]
    return NetworkInfo(side, shift_periods(skeleton), tuple(layers))


def _min_side(shapes: Callable[[int, int], list[torch.Size]]) -> int:
    """Find the smallest side in pixels of a square image for which every map has at least one cell."""

    def works(side: int) -> bool:
        try:
            return all(0 not in shape for shape in shapes(side, side))
        except Exception:  # torch and the networks raise many kinds of errors for images that are too small
            return False

    enough = next((side for side in CANDIDATE_SIDES if works(side)), CANDIDATE_SIDES[-1])
    return bisect.bisect_left(range(enough), True, lo=enough // 2 + 1, key=works)
