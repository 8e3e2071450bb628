"""Build a network up to its last tap, and find the properties of its maps."""

from collections.abc import Callable
from typing import NamedTuple

from torch import nn

from hypercolumns.errors import ArgumentError
from hypercolumns.models.backbones import _network_info, _readers
from hypercolumns.models.backbones._network_info import Key, NetworkInfo
from hypercolumns.models.backbones._readers import MapReader
from hypercolumns.models.backbones.widening import widen_network


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
    kinds = [known.reader] if known is not None else _readers.reader_kinds(network, key.tap_modules, key.norm)
    errors = []
    for kind in kinds:
        try:
            reader, body = _readers.cut(kind, key.network, network, key.tap_modules, key.norm)
            widen_network(key.network, body, key.channels)
            return Assembly(reader, body, known or _network_info.derive(key, reader, body))
        except ArgumentError as error:
            errors.append(error)
            network = build()
    raise errors[kinds.index("blocks") if "blocks" in kinds else 0]
