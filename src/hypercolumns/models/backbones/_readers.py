"""Choose how the maps of a network's taps are computed: from a traced graph, or from the blocks of a transformer."""

import functools
from collections.abc import Callable, Mapping
from typing import Any, Literal

from torch import Tensor, nn
from torch.fx import GraphModule

from hypercolumns.models.backbones import _blocks, _fx
from hypercolumns.models.backbones._blocks import BlockReader
from hypercolumns.models.backbones._body import TapModules
from hypercolumns.models.backbones._fx import GraphReader

ReaderKind = Literal["graph", "blocks"]
MapReader = GraphReader | BlockReader


def reader_kinds(network: nn.Module, tap_modules: TapModules, norm: bool) -> list[ReaderKind]:
    """Return how the maps of a network can be computed, the better way first.

    A graph can be cut into windows, its layers can be tapped anywhere, and it needs less memory. Networks with
    attention are read by their blocks, because a trace of them holds for one size only.

    Args:
        network: the network.
        tap_modules: for each tap, the paths of the tap's modules.
        norm: whether the network's last normalisation layer is applied to every map, which only blocks allow.

    Returns:
        One or two ways.
    """
    names = _blocks.block_names(network)
    if not all(module in names for tap in tap_modules for module in tap):
        return ["blocks"] if norm or _blocks.plain_patch(network) else ["graph"]
    if norm or _blocks.plain_patch(network):
        return ["blocks"]
    has_attention = any(hasattr(module, "fused_attn") for module in network.modules())  # timm's mark of attention
    return ["blocks", "graph"] if has_attention else ["graph", "blocks"]


def cut(
    kind: ReaderKind, name: str, network: nn.Module, tap_modules: TapModules, norm: bool
) -> tuple[MapReader, nn.Module]:
    """Cut a network off after its last tap, for one way to compute its maps.

    Args:
        kind: the way.
        name: the network's name, for error messages.
        network: the whole network.
        tap_modules: for each tap, the paths of the tap's modules.
        norm: see `reader_kinds`.

    Returns:
        The reader, and the network that it reads, in evaluation mode.

    Raises:
        ArgumentError: if the network has no such module, or can't be traced.
    """
    if kind == "blocks":
        _blocks.check_blocks(name, network, tap_modules)
        return BlockReader(tap_modules, norm), _blocks.cut_after(name, network, tap_modules, norm)
    return GraphReader(tap_modules), _fx.cut(name, network, tap_modules)


def quiet(reader: MapReader, body: nn.Module) -> Callable[[Tensor], Mapping[str, Tensor]]:
    """Return a function from images to maps that prints nothing when it fails.

    A call of a GraphModule itself, in place of its `forward`, would print a traceback before it raises an error.
    """
    called: Any = body.forward if isinstance(body, GraphModule) else body
    return functools.partial(reader, called)
