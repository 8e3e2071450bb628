"""Build a network up to its last tap, and find the properties of its maps."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

from torch import nn

from hypercolumns.errors import ArgumentError
from hypercolumns.models.backbones import _blocks, _network_info, _readers, networks
from hypercolumns.models.backbones._network_info import Key, NetworkInfo
from hypercolumns.models.backbones._readers import MapReader
from hypercolumns.models.backbones.widening import widen_network
from hypercolumns.models.taps import RegularGrid


class Assembly(NamedTuple):
    """A network up to its last tap.

    Attributes:
        reader: computes the maps of the taps.
        body: the network.
        info: the properties of the maps.
    """

    reader: MapReader
    body: nn.Module
    info: NetworkInfo


def assemble(key: Key, build: Callable[[], nn.Module], known: NetworkInfo | None) -> Assembly:
    """Build a network up to its last tap.

    Args:
        key: the network, its taps and their settings.
        build: builds the whole network. It is called again if the network can't be read in the first way.
        known: the properties of the network's maps; None: they are derived from the network's layers.

    Returns:
        The network with what is known of it.

    Raises:
        ArgumentError: if the network can't be a backbone with these taps. If there are several ways to read the
            network, the error is that of its blocks, which are what timm lists as its maps.
    """
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
            return Assembly(reader, body, info)
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
