"""What follows from a network and its taps, whatever the weights: derived by running it without values."""

import bisect
import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.fx import GraphModule

from hypercolumns.models.backbones import _fx, networks
from hypercolumns.models.backbones._receptive_field import Maps, cell_grids, shift_periods
from hypercolumns.models.taps import Tap

CANDIDATE_SIDES = [2**power for power in range(10)]  # between which the least one is sought
HashableTapModules = tuple[tuple[str, ...], ...]


class NetworkInfo(NamedTuple):
    """What is derived; see `Backbone`."""

    min_side: int
    shift_period: tuple[int, int]
    layers: tuple[Tap, ...]


CACHE: dict[
    tuple[str, Callable[[], nn.Module] | None, HashableTapModules], NetworkInfo
] = {}  # stages build the same ones often


def network_info(network: str, skeleton: GraphModule, tap_modules: HashableTapModules) -> NetworkInfo:
    """Derive what follows from a network and its taps, once.

    Args:
        network: its name.
        skeleton: the network up to its last tap, without values (on the meta device).
        tap_modules: the modules of each tap.

    Raises:
        ArgumentError: if the network can't be a backbone.
    """
    key = network, networks.OWN.get(network), tap_modules
    if key not in CACHE:
        CACHE[key] = _derive(network, skeleton, tap_modules)
    return CACHE[key]


def map_shapes(skeleton: GraphModule, tap_modules: HashableTapModules, height: int, width: int) -> list[torch.Size]:
    """The shapes of the maps of one image of that size."""
    return [cells.shape for cells in _maps(skeleton, tap_modules)(torch.empty(1, 3, height, width, device="meta"))]


def _maps(skeleton: GraphModule, tap_modules: HashableTapModules) -> Maps:
    # By `forward`: a call would print what is wrong with it before it raises.
    return functools.partial(_fx.run_body, skeleton.forward, tap_modules)


def _derive(network: str, skeleton: GraphModule, tap_modules: HashableTapModules) -> NetworkInfo:
    shapes: Any = functools.partial(map_shapes, skeleton, tap_modules)
    side = _min_side(shapes)
    try:
        small, large = shapes(side, side), shapes(2 * side + 13, 3 * side + 17)
    except Exception as error:
        raise networks.unusable(network, "it does not give maps of images of every size", error) from error
    for modules, one, other in zip(tap_modules, small, large, strict=True):
        if len(one) != 4 or one[1] != other[1]:
            shape = f"{modules[0]} gives {(*other,)}, not (batch, channels, height, width)"
            raise networks.unusable(network, shape)
    try:
        axes = cell_grids(_maps(skeleton, tap_modules), side)
    except Exception as error:
        raise networks.unusable(network, "where its cells lie can't be found", error) from error
    layers = [Tap(modules[0], shape[1], both) for modules, shape, both in zip(tap_modules, small, axes, strict=True)]
    return NetworkInfo(side, shift_periods(skeleton), tuple(layers))


def _min_side(shapes: Callable[[int, int], list[torch.Size]]) -> int:
    def takes(side: int) -> bool:
        try:
            return all(0 not in shape for shape in shapes(side, side))
        except Exception:  # torch's words, or the network's own, for what is too small
            return False

    enough = next((side for side in CANDIDATE_SIDES if takes(side)), CANDIDATE_SIDES[-1])
    return bisect.bisect_left(range(enough), True, lo=enough // 2 + 1, key=takes)
