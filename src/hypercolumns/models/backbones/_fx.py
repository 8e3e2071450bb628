"""Trace networks with torch.fx into graphs that end after the last tap and return the outputs of the tapped modules."""

import difflib
import operator
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from torch import Tensor, nn
from torch.fx import GraphModule, Node

from hypercolumns.errors import ArgumentError
from hypercolumns.models.backbones import networks
from hypercolumns.models.backbones._body import MAX_NAMES, TapModules, parameters_of


def cut(name: str, network: nn.Module, tap_modules: TapModules) -> GraphModule:
    """Trace a network and cut it off after its last tap.

    Args:
        name: the network's name, see `Backbone`.
        network: the whole network; this function puts it into evaluation mode.
        tap_modules: for each tap, the paths of the tap's modules in the network.

    Returns:
        The traced network, in evaluation mode. A call of it returns a dictionary from the path of each tapped module to
        the module's output.

    Raises:
        ArgumentError: if one of the tapped modules does not exist in the network, or torch.fx cannot trace the network.
    """
    from torchvision.models.feature_extraction import create_feature_extractor

    network.eval()
    settings: dict[str, Any] = {"tracer_kwargs": networks.tracing(name), "suppress_diff_warning": True}
    modules = [module for tap in tap_modules for module in tap]
    try:
        body: GraphModule = create_feature_extractor(network, modules, **settings)
    except Exception as error:  # the network's own code may raise any error while it is traced
        raise _tracing_error(name, network, modules, settings) from error
    for layer in body.modules():
        if isinstance(getattr(layer, "inplace", None), bool):
            # An in-place ReLU after a tap would overwrite the tap's map.
            layer.inplace = False  # type: ignore[assignment]
    for mode in (True, False):
        body.train(mode)  # torchvision made one graph for each mode; this call selects the graph to change
        for node in body.graph.nodes:
            if node.kwargs.get("inplace"):
                node.update_kwarg("inplace", False)
        body.recompile()
    _spare_memory(body)
    return body


OPERATION = re.compile(r"(add|iadd|sub|mul|cat)(_\d+)?")  # names of functions that join maps


@dataclass(frozen=True)
class GraphReader:
    """Compute the maps of the taps of a network that `cut` traced.

    Attributes:
        tap_modules: for each tap, the paths of the tap's modules in the network.
    """

    kind: ClassVar[Literal["graph"]] = "graph"
    tap_modules: TapModules

    def __call__(self, body: Any, images: Tensor) -> Mapping[str, Tensor]:
        """Return the output of each tapped module, by the module's path, for normalised images (B, N, H, W)."""
        outputs: Mapping[str, Tensor] = body(images)
        return outputs

    def used_by(self, body: GraphModule, taps: TapModules, image: Tensor) -> list[nn.Module | Tensor]:
        """Return the parts of a network that the maps of some taps depend on.

        A part is a module that the graph calls, or a parameter or buffer that the graph reads directly (for example
        `layer_scale` in ConvNeXt).

        Args:
            body: the network.
            taps: the paths of the modules of each tap.
            image: not used; the graph alone says what depends on what.

        Returns:
            The parts, without duplicates.
        """
        return used_by(body, taps)

    def holds(self, body: GraphModule, module: str) -> bool:
        """Return whether a network up to its last tap has the module, or the operation in a module, that a tap names.

        torchvision names an operation, such as the sum at the end of a residual block, by its module and its function
        (`layer1.1.add`).
        """
        path, _, last = module.rpartition(".")
        layers = {name for name, _ in body.named_modules()}
        return module in layers or (OPERATION.fullmatch(last) is not None and path in layers)

    def layer_groups(self, body: GraphModule, image: Tensor) -> list[list[nn.Parameter]]:
        """Return one list of parameters for each tap: those that the tap uses and that no earlier tap uses.

        Args:
            body: the network.
            image: not used; the graph alone says what depends on what.

        Returns:
            The lists, from shallow to deep. The last list also holds the parameters that no tap uses.
        """
        grouped: dict[int, None] = {}
        groups = []
        for count in range(1, len(self.tap_modules) + 1):
            used = {id(parameter): parameter for parameter in parameters_of(used_by(body, self.tap_modules[:count]))}
            groups.append([parameter for key, parameter in used.items() if key not in grouped])
            grouped |= dict.fromkeys(used)
        groups[-1] += [parameter for parameter in body.parameters() if id(parameter) not in grouped]
        return groups


def used_by(body: GraphModule, tap_modules: TapModules) -> list[nn.Module | Tensor]:
    """Return the parts of a traced network that the maps of some taps depend on, see `GraphReader.used_by`."""
    outputs: Any = body.graph.output_node().args[0]
    waiting: list[Node] = [outputs[module] for tap in tap_modules for module in tap]
    used: dict[Node, None] = {}
    while waiting:
        node = waiting.pop()
        if node not in used:
            used[node] = None
            waiting += node.all_input_nodes
    return [operator.attrgetter(str(node.target))(body) for node in used if node.op in ("call_module", "get_attr")]


def _tracing_error(name: str, network: nn.Module, modules: Sequence[str], settings: dict[str, Any]) -> ArgumentError:
    """Return the error for a network that could not be traced.

    The message names the first tapped module that the network lacks, if one is missing.

    Args:
        name: the network's name.
        network: the whole network.
        modules: the paths of all tapped modules.
        settings: the keyword arguments with which the network was traced.

    Returns:
        The error, for the caller to raise.
    """
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
                f"taps names {module}, which is not a module of {name}; choose modules from {', '.join(similar)}"
                f"{f' and {len(known) - len(similar)} others' if len(similar) < len(known) else ''}"
            )
    return networks.unusable(
        name, "its code takes another way for other images or sizes, or calls what torch.fx can't follow"
    )


def _spare_memory(body: GraphModule) -> None:
    """Reduce the memory that a network needs in evaluation mode. The maps stay the same.

    The traced network has one graph for training mode and another one for evaluation mode. This function changes only
    the second graph. If nothing but a max pooling reads the output of a ReLU, the ReLU is moved behind the max pooling:
    the result is the same, and the pooled map is smaller. A ReLU overwrites its input if nothing else reads this input.
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
    # The graph can call one ReLU module several times. The module runs in place only if every call may overwrite its
    # input. A call may do so if its input is the output of a convolution or BatchNorm, and nothing else reads that
    # output. These layers return new memory; Dropout, for example, can return its own input.
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
