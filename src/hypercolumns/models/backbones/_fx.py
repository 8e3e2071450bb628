"""Cutting a network's graph at its taps: by torch.fx, which traces it."""

import copy
import difflib
import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.fx import GraphModule, Node

from hypercolumns.errors import ArgumentError
from hypercolumns.models.backbones import networks

MAX_NAMES = 40  # of a network's modules in a message

TapModules = Sequence[Sequence[str]]  # of each tap of a network, the paths of its modules


def cut(name: str, network: nn.Module, tap_modules: TapModules) -> GraphModule:
    """Cut a network off after its last tap: the graph returns what the taps' modules give, by their names.

    Args:
        name: of the network, see `Backbone`.
        network: the whole of it.
        tap_modules: the modules that are tapped.

    Raises:
        ArgumentError: if the network lacks one of them, or can't be traced.
    """
    from torchvision.models.feature_extraction import create_feature_extractor

    network.eval()
    settings: dict[str, Any] = {"tracer_kwargs": networks.tracing(name), "suppress_diff_warning": True}
    modules = [module for tap in tap_modules for module in tap]
    try:
        body: GraphModule = create_feature_extractor(network, modules, **settings)
    except Exception as error:  # whatever the network's own code raises when it is traced
        raise _tracing_error(name, network, modules, settings, error) from error
    for layer in body.modules():
        if isinstance(getattr(layer, "inplace", None), bool):
            # Else the ReLU after a tap would overwrite it.
            layer.inplace = False  # type: ignore[assignment]
    for mode in (True, False):
        body.train(mode)  # which changes the graph
        for node in body.graph.nodes:
            if node.kwargs.get("inplace"):
                node.update_kwarg("inplace", False)
        body.recompile()
    _spare_memory(body)
    return body


def run_body(body: Callable[[Tensor], Mapping[str, Tensor]], tap_modules: TapModules, images: Tensor) -> list[Tensor]:
    """The map of each tap of the network, given what it gives of its modules."""
    outputs = body(images)
    return [
        torch.cat([outputs[module] for module in modules], dim=1) if len(modules) > 1 else outputs[modules[0]]
        for modules in tap_modules
    ]


def without_values(body: GraphModule) -> GraphModule:
    """A copy on the meta device, in evaluation mode: for shapes."""
    empty: dict[int, Tensor] = {id(one): nn.Parameter(one.to("meta"), False) for one in body.parameters()}
    twin: GraphModule = copy.deepcopy(body, empty | {id(one): one.to("meta") for one in body.buffers()})
    return twin.eval()


def used_by(body: GraphModule, tap_modules: TapModules) -> list[nn.Module | Tensor]:
    """The modules, and the parameters outside of them, that these taps are made with."""
    outputs: Any = body.graph.output_node().args[0]
    waiting: list[Node] = [outputs[module] for tap in tap_modules for module in tap]
    used: dict[Node, None] = {}
    while waiting:
        node = waiting.pop()
        if node not in used:
            used[node] = None
            waiting += node.all_input_nodes
    return [operator.attrgetter(str(node.target))(body) for node in used if node.op in ("call_module", "get_attr")]


def parameters_by_tap(body: GraphModule, tap_modules: TapModules) -> list[list[nn.Parameter]]:
    """Group the parameters by tap: see `Backbone.tap_parameters`."""
    found: dict[int, None] = {}
    groups = []
    for count in range(1, len(tap_modules) + 1):
        used = {id(one): one for part in used_by(body, tap_modules[:count]) for one in _parameters(part)}
        groups.append([one for number, one in used.items() if number not in found])
        found |= dict.fromkeys(used)
    groups[-1] += [one for one in body.parameters() if id(one) not in found]
    return groups


def _parameters(part: nn.Module | Tensor) -> list[nn.Parameter]:
    """Of a module, or of a tensor that may be one."""
    if isinstance(part, nn.Module):
        return list(part.parameters())
    return [part] if isinstance(part, nn.Parameter) else []


def _tracing_error(
    name: str, network: nn.Module, modules: Sequence[str], settings: dict[str, Any], error: Exception
) -> ArgumentError:
    """The error for a network that can't be cut at these modules: it lacks one, or can't be traced."""
    from torchvision.models.feature_extraction import get_graph_node_names

    try:
        known = get_graph_node_names(network, **settings)[1]
    except Exception:
        known = []
    for module in modules if known else ():
        if not any(f"{one}.".startswith(f"{module}.") for one in known):
            similar = known
            if len(known) > MAX_NAMES:
                similar = difflib.get_close_matches(module, known, MAX_NAMES, cutoff=0)
            return ArgumentError(
                f"taps names {module}, which this network does not have; it has {', '.join(similar)}"
                f"{f' and {len(known) - len(similar)} more' if len(similar) < len(known) else ''}"
            )
    return networks.unusable(name, "torch.fx can't trace it", error)


def _spare_memory(body: GraphModule) -> None:
    """Let ReLU come after max pooling, with which it commutes, and overwrite what nothing else asks for."""
    layers = dict(body.named_modules())

    def input_of(node: Node) -> Any:
        return node.args[0] if node.args else None

    def applies(node: Any, *kinds: type[nn.Module]) -> bool:
        return isinstance(node, Node) and node.op == "call_module" and isinstance(layers[str(node.target)], kinds)

    for pool in list(body.graph.nodes):
        relu = input_of(pool)
        if applies(pool, nn.MaxPool2d) and applies(relu, nn.ReLU) and len(relu.users) == 1:
            pool.replace_input_with(relu, relu.args[0])
            pool.replace_all_uses_with(relu)
            relu.args = (pool,)
            pool.append(relu)
    # A module may be called several times; and only some layers' output is their own: Dropout's, say, is its input.
    calls = [node for node in body.graph.nodes if applies(node, nn.ReLU)]
    shared = {
        call.target
        for call in calls
        if not applies(input_of(call), nn.Conv2d, nn.BatchNorm2d) or len(input_of(call).users) > 1
    }
    for call in calls:
        layers[str(call.target)].inplace = call.target not in shared
    body.graph.lint()
    body.recompile()
