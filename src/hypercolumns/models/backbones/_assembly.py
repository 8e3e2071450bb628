"""Build a network up to its last tap by its name, and find the properties of its maps."""

from collections.abc import Callable, Mapping
from typing import Any

from torch import nn

from hypercolumns.errors import ArgumentError
from hypercolumns.models.backbones import _blocks, _network_info, _readers, networks
from hypercolumns.models.backbones._network_info import Key, NetworkInfo, from_record
from hypercolumns.models.backbones._scales import ONE, Scales
from hypercolumns.models.backbones.tapped_network import TappedNetwork
from hypercolumns.models.backbones.widening import widen_network
from hypercolumns.models.taps import RegularGrid
from hypercolumns.runtime import randomness
from hypercolumns.runtime.imports import without_collections


def build_tapped(
    key: Key, seed: int | None, info: Mapping[str, Any] | None, drop_path: float | None, scales: Scales
) -> TappedNetwork:
    """Build a network by its name, up to its last tap.

    Args:
        key: the network, its taps and their settings.
        seed: the seed from which random weights are drawn. None: the weights are undefined, and the caller must load
            weights afterwards.
        info: see `Backbone`.
        drop_path: see `Backbone`.
        scales: the scales at which the network sees the image, see `_scales`.

    Returns:
        The network.

    Raises:
        ArgumentError: if the network is unknown, or can't be a backbone with these taps and scales.
    """
    known = _network_info.look_up(key) if info is None else from_record(info, key.tap_modules)

    def build() -> nn.Module:
        if seed is None:
            return networks.build_blank(key.network, key.channels, drop_path)
        return networks.build(key.network, key.channels, drop_path)

    with randomness.seeded(seed or 0, "backbone"):
        return assemble(key, build, known, scales)


def assemble(
    key: Key, build: Callable[[], nn.Module], known: NetworkInfo | None, scales: Scales = (ONE,)
) -> TappedNetwork:
    """Build a network up to its last tap.

    Args:
        key: the network, its taps and their settings.
        build: builds the whole network. It is called again if the network can't be read in the first way.
        known: the properties of the network's maps; None: they are derived from the network's layers.
        scales: the scales at which the network sees the image, see `_scales`.

    Returns:
        The network.

    Raises:
        ArgumentError: if the network can't be a backbone with these taps. If there are several ways to read the
            network, the error is that of its blocks, which are what timm lists as its maps.
    """
    with without_collections():  # the collector would search the objects of all libraries, again and again
        return _assemble(key, build, known, scales)


def _assemble(key: Key, build: Callable[[], nn.Module], known: NetworkInfo | None, scales: Scales) -> TappedNetwork:
    network = build()
    listed = _blocks.listed_maps(network)
    kinds = [known.reader] if known is not None else _readers.reader_kinds(network, key.tap_modules, key.norm)
    errors: list[ArgumentError] = []
    for kind in kinds:
        if errors:
            network = build()  # the failed attempt has changed it
        try:
            reader, body = _readers.cut(kind, key.network, network, key.tap_modules, key.norm)
            widen_network(key.network, body, key.channels)
            info = known or _network_info.derive(key, reader, body)
            if known is None and kind == "graph":
                _check_meaning(key, listed, info)
            if known is None:
                _network_info.keep(key, info)
            return TappedNetwork(key, reader, body, info, scales)
        except ArgumentError as error:
            errors.append(error)
    raise errors[kinds.index("blocks") if "blocks" in kinds else 0]


def _check_meaning(key: Key, listed: Mapping[str, tuple[int, int]], info: NetworkInfo) -> None:
    """Check that the outputs of the tapped modules are the maps that timm lists under their names.

    timm's map of a stage may be taken before a layer at the end of the stage's module, which makes the map smaller.

    Args:
        key: the network and its taps.
        listed: the channels and the stride in pixels that timm states of each map.
        info: the properties of the modules' outputs.

    Raises:
        ArgumentError: if a map has other channels, or another stride.
    """
    for modules, tap in zip(key.tap_modules, info.layers, strict=True):
        if len(modules) > 1 or modules[0] not in listed:
            continue
        channels, stride = listed[modules[0]]
        strides = {axis.stride for axis in tap.axes if isinstance(axis, RegularGrid)}
        if tap.channels != channels or strides - {stride}:
            del _network_info.CACHE[key]
            raise networks.unusable(key.network, f"the output of {modules[0]} is not the map that timm lists as such")
