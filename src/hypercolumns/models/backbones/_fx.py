"""Cut a network at its taps with torch.fx, which traces the network into a graph."""

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

MAX_NAMES = 40  # maximum number of module names in a message

TapModules = Sequence[Sequence[str]]  # the paths of each tap's modules


def cut(name: str, network: nn.Module, tap_modules: TapModules) -> GraphModule:
    """Trace a network and cut it off after its last tap.

    Args:
        name: of the network, see `Backbone`.
        network: the whole network; it is put into evaluation mode.
        tap_modules: the paths of each tap's modules.

    Returns:
        The graph, in evaluation mode. It returns a dictionary from the paths of the tapped modules to their outputs.

    Raises:
        ArgumentError: if the network lacks one of the modules, or cannot be traced.
    """
    from torchvision.models.feature_extraction import create_feature_extractor

    network.eval()
    settings: dict[str, Any] = {"tracer_kwargs": networks.tracing(name), "suppress_diff_warning": True}
    modules = [module for tap in tap_modules for module in tap]
    try:
        body: GraphModule = create_feature_extractor(network, modules, **settings)
    except Exception as error:  # the network's own code may raise any error while it is traced
        raise _tracing_error(name, network, modules, settings, error) from error
    for layer in body.modules():
        if isinstance(getattr(layer, "inplace", None), bool):
            # The ReLU after a tap would overwrite the tap's map otherwise.
            layer.inplace = False  # type: ignore[assignment]
    for mode in (True, False):
        body.train(mode)  # selects the mode's own graph
        for node in body.graph.nodes:
            if node.kwargs.get("inplace"):
                node.update_kwarg("inplace", False)
        body.recompile()
    _spare_memory(body)
    return body


def run_body(body: Callable[[Tensor], Mapping[str, Tensor]], tap_modules: TapModules, images: Tensor) -> list[Tensor]:
    """Run the network and return the map of each tap: the concatenated outputs of the tap's modules.

    Args:
        body: returns a dictionary from the paths of the tapped modules to their outputs.
        tap_modules: the paths of each tap's modules.
        images: (B, 3, H, W), normalised.

    Returns:
        (B, C_l, h_l, w_l), one for each tap.
    """
    outputs = body(images)
    return [
        torch.cat([outputs[module] for module in modules], dim=1) if len(modules) > 1 else outputs[modules[0]]
        for modules in tap_modules
    ]


def without_values(body: GraphModule) -> GraphModule:
    """Copy the network to the meta device, in evaluation mode. The copy computes shapes and holds no values."""
    empty: dict[int, Tensor] = {id(tensor): nn.Parameter(tensor.to("meta"), False) for tensor in body.parameters()}
    twin: GraphModule = copy.deepcopy(body, empty | {id(tensor): tensor.to("meta") for tensor in body.buffers()})
    return twin.eval()


def used_by(body: GraphModule, tap_modules: TapModules) -> list[nn.Module | Tensor]:
    """Return the network's modules, and its tensors outside of modules, on which the maps of the taps depend."""
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
    """Group the parameters by tap, see `Backbone.tap_parameters`."""
    grouped: dict[int, None] = {}
    groups = []
    for count in range(1, len(tap_modules) + 1):
        used = {id(param): param for part in used_by(body, tap_modules[:count]) for param in _parameters(part)}
        groups.append([param for key, param in used.items() if key not in grouped])
        grouped |= dict.fromkeys(used)
    groups[-1] += [param for param in body.parameters() if id(param) not in grouped]
    return groups


def _parameters(part: nn.Module | Tensor) -> list[nn.Parameter]:
    """Return the parameters of a module, or the tensor itself if it is a parameter."""
    if isinstance(part, nn.Module):
        return list(part.parameters())
    return [part] if isinstance(part, nn.Parameter) else []


def _tracing_error(
    name: str, network: nn.Module, modules: Sequence[str], settings: dict[str, Any], error: Exception
) -> ArgumentError:
    """Return the error for a failed trace, which names a missing module, or what torch.fx could not trace."""
    from torchvision.models.feature_extraction import get_graph_node_names

    try:
        known = get_graph_node_names(network, **settings)[1]
    except Exception:
        known = []
    for module in modules if known else ():
        if not any(f"{name_in_graph}.".startswith(f"{module}.") for name_in_graph in known):
            similar = known
            if len(known) > MAX_NAMES:
                similar = difflib.get_close_matches(module, known, MAX_NAMES, cutoff=0)
            return ArgumentError(
                f"taps names {module}, which is not a module of {name}; name modules among {', '.join(similar)}"
                f"{f' and {len(known) - len(similar)} others' if len(similar) < len(known) else ''}"
            )
    return networks.unusable(name, "torch.fx can't trace it", error)


def _spare_memory(body: GraphModule) -> None:
    """Move a ReLU behind a max pooling that alone reads the ReLU's output, and run ReLUs in place where possible.

    ReLU and max pooling commute, and the pooled map is smaller.
    """
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
    # A ReLU module may be called several times, and runs in place only if each call allows it. A call allows it if its
    # input is new memory, as convolutions and BatchNorm return; Dropout, for example, returns its own input.
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
