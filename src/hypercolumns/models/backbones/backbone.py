"""A convolutional network that gives one map per tap."""

import bisect
import copy
import difflib
import functools
import hashlib
import math
import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, NamedTuple, TypeVar

import torch
from torch import Tensor, nn
from torch.fx import GraphModule, Node
from torchvision.models.feature_extraction import create_feature_extractor, get_graph_node_names

from hypercolumns.coordinates import full_image_box
from hypercolumns.errors import HypercolumnsError
from hypercolumns.models.backbones import context, networks
from hypercolumns.models.backbones import weights as weights_module
from hypercolumns.models.backbones.receptive_field import Maps, cell_grids, shift_periods
from hypercolumns.models.taps import Tap
from hypercolumns.runtime import randomness

T = TypeVar("T")
Trainable = int | Literal["all"]

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
MAX_NAMES = 40  # of a network's modules in a message
CANDIDATE_SIDES = [2**power for power in range(10)]  # between which the least one is sought


class NetworkInfo(NamedTuple):
    """What follows from a network and its taps, whatever the weights; see `Backbone`."""

    min_side: int
    shift_period: tuple[int, int]
    layers: tuple[Tap, ...]


NETWORK_INFO: dict[tuple[Any, ...], NetworkInfo] = {}  # by network and taps: stages build the same ones again and again


class Backbone(nn.Module):
    """A network cut off after its last tap, with the normalisation of its input.

    Attributes:
        taps: what each map is and where its cells are centred; derived from the network.
        min_side: the least height and width of an image that the network takes; derived too.
        shift_period: by how many pixels, along y and x, an image can be shifted so that its maps shift with it; derived
            too.
        trainable: how many of the last taps' layers are trained, or "all".
    """

    def __init__(
        self,
        network: str,
        taps: Sequence[str | Sequence[str]] | None,
        weights: str | Mapping[str, Tensor] | None = None,
        trainable: Trainable = 0,
        mean: Sequence[float] | None = IMAGENET_MEAN,
        std: Sequence[float] | None = IMAGENET_STD,
        seed: int = 0,
        context: Sequence[str] | None = None,
    ) -> None:
        """Build the network and load its weights.

        Args:
            network: a name in torchvision.models, `timm/<name>` for one of timm's, or `rgb` for the image itself.
            taps: modules of the network, by path (`features.0`), in the order of the network; a list of modules is one
                tap, the concatenation of their outputs. A tap is what the module gives, before what comes after it.
                None for the maps that timm lists for a network of its own. After the modules there may be context taps,
                such as `pyramid:6`, `window:3` and `coordinates`, see `backbones.context`; those of the whole image are
                put last.
            weights: the name of torchvision weights, `pretrained` for timm's, the path of a file, a state dict, or None
                for random weights.
            trainable: 0 freezes all (statistics of BatchNorm too), n trains the layers of the last n taps, i.e. those
                that come after the tap before them, "all" trains all.
            mean: of the input's channels, for images in [0, 1]; weights by name bring their own. None: what timm's
                pretrained weights take.
            std: likewise.
            seed: of random weights.
            context: more context taps, which come after `taps`, whichever those are.

        Raises:
            HypercolumnsError: for an unknown network, tap or setting, and weights that don't fit.
        """
        super().__init__()
        if isinstance(network, str) and taps is None:
            taps = networks.default_taps(network)
        if not isinstance(network, str) or not taps:
            raise HypercolumnsError(f"cnn.network={network} and cnn.taps={taps} must name a network and modules of it")
        self.network = network
        self.tap_modules, self.contexts = _sorted([*taps, *_contexts(context)])
        self.trainable = trainable
        if weights is None:
            with randomness.seeded(seed, "backbone"):
                self.body = _cut(network, networks.build(network), self.tap_modules)
        else:
            self.body = _cut(network, networks.build_blank(network), self.tap_modules)
            state, normalisation = (
                weights_module.load(network, weights) if isinstance(weights, str) else (weights, None)
            )
            weights_module.assign(
                self.body, state, f"cnn.weights={weights}" if isinstance(weights, str) else "the file"
            )
            mean, std = normalisation or (mean, std)
        if mean is None or std is None:
            mean, std = networks.default_normalisation(network)
        self.register_buffer("mean", _of_channels("mean", mean))
        self.register_buffer("std", _of_channels("std", std))
        for layer in self.body.modules():
            if isinstance(layer, nn.Conv2d):
                layer.to(memory_format=torch.channels_last)  # twice as fast on a CPU
        self._skeleton = [_without_values(self.body)]  # in a list, so that it is not taken for a part of this module
        key = network, networks.OWN.get(network), self.tap_modules
        if key not in NETWORK_INFO:
            NETWORK_INFO[key] = self._derive()
        self.min_side, self.shift_period, layers = NETWORK_INFO[key]
        counts = functools.partial(self._count, {}, 0), functools.partial(self._count, {}, 1)
        self.taps = (*layers, *(make.tap(layers[-1], counts) for make in self.contexts))
        self._freeze()
        self.train(self.training)

    def forward(self, images: Tensor, boxes: Tensor | None = None) -> list[Tensor]:
        """The maps (B, C_l, h_l, w_l) of images (B, 3, H, W) in [0, 1], with H and W at least `min_side`: see `pad`.

        What layers of the network make is laid out with its channels last. `boxes` are those of crops, see
        `coordinates`.
        """
        local = self.local_maps(images)
        return [*local, *self.global_maps(self.deepest(local), (images.shape[2], images.shape[3]), boxes)]

    def local_maps(self, images: Tensor) -> list[Tensor]:
        """The maps of all taps but the global ones, which are last (see `Tap.is_global`)."""
        mean, std = self.get_buffer("mean"), self.get_buffer("std")
        return self._local_maps(self.body, (images - mean) / std)

    def deepest(self, local: Sequence[T]) -> T:
        """Of the local maps, or what there is of each, that of the last module: context taps are made from it."""
        return local[len(self.tap_modules) - 1]

    def global_maps(self, deepest: Tensor, size: tuple[int, int], boxes: Tensor | None = None) -> list[Tensor]:
        """The maps of the images as a whole, of `size` = (height, width), from the deepest map of all of them."""
        boxes = full_image_box(size) if boxes is None else boxes
        return [make(deepest, size, boxes) for make in self.contexts if make.is_global]

    def pad(self, images: Tensor) -> Tensor:
        """Images (B, 3, H, W), continued at the bottom and the right by their last pixels to at least `min_side`."""
        rows, columns = (
            torch.arange(torch.sym_max(side, self.min_side), device=images.device).clamp(max=side - 1)
            for side in images.shape[-2:]
        )
        return images.index_select(2, rows).index_select(3, columns)

    @property
    def channels(self) -> int:
        """D, the length of a hypercolumn."""
        return sum(tap.channels for tap in self.taps)

    def map_sizes(self, height: int, width: int) -> list[tuple[int, int]]:
        """(h_l, w_l) of the maps of an image of that size."""
        images = torch.empty(1, 3, height, width, device="meta")
        local = self._local_maps(self._skeleton[0].forward, images)
        maps = [*local, *self.global_maps(self.deepest(local), (height, width))]
        return [(cells.shape[2], cells.shape[3]) for cells in maps]

    def train(self, mode: bool = True) -> "Backbone":
        """As for any module, but what is frozen stays in evaluation mode: statistics of BatchNorm don't move."""
        super().train(mode)
        for module in self._frozen:
            module.eval()
        return self

    def synchronize_batch_norm(self) -> None:
        """Let trained layers of BatchNorm take their statistics over the batches of all processes, on GPUs.

        Raises HypercolumnsError if there are some for which torch can't do that.
        """
        frozen = {id(part) for module in self._frozen for part in module.modules()}
        for name, layer in list(self.body.named_modules()):
            if isinstance(layer, nn.modules.batchnorm._BatchNorm) and id(layer) not in frozen:
                if type(layer) is not nn.BatchNorm2d or layer.weight.device.type != "cuda":
                    raise HypercolumnsError(
                        f"{self.network} has layers of BatchNorm ({name}), which several processes can train on GPUs "
                        f"alone, and only plain ones; use cnn.trainable=0 or trainer.devices=1"
                    )
                self.body.set_submodule(name, nn.SyncBatchNorm.convert_sync_batchnorm(layer))

    def __deepcopy__(self, memo: dict[int, Any]) -> "Backbone":
        """A copy in the same mode: a copy of a traced network alone would be in training mode."""
        twin = type(self).__new__(type(self))
        memo |= {id(self): twin, id(self._skeleton): self._skeleton}  # which never changes
        twin.__dict__ = copy.deepcopy(self.__dict__, memo)
        return twin.train(self.training)

    def tap_parameters(self) -> list[list[nn.Parameter]]:
        """The parameters of the layers of each tap of the network: those that the taps before it are made without.

        Parameters that no tap is made with are the last one's.
        """
        found: dict[int, None] = {}
        layers = []
        for count in range(1, len(self.tap_modules) + 1):
            used = {id(one): one for part in _used_by(self.body, self.tap_modules[:count]) for one in _parameters(part)}
            layers.append([one for number, one in used.items() if number not in found])
            found |= dict.fromkeys(used)
        layers[-1] += [one for one in self.body.parameters() if id(one) not in found]
        return layers

    def fingerprint(self) -> dict[str, object]:
        """What decides the values of the maps: network, taps, normalisation and a hash of the weights."""
        digest = hashlib.sha256()
        for name, tensor in self.body.state_dict().items():
            digest.update(name.encode())
            digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
        return {
            "network": self.network,
            "taps": [*(list(modules) for modules in self.tap_modules), *([make.name] for make in self.contexts)],
            "weights": digest.hexdigest()[:16],
            "mean": [round(value, 6) for value in self.get_buffer("mean").flatten().tolist()],
            "std": [round(value, 6) for value in self.get_buffer("std").flatten().tolist()],
        }

    def _local_maps(self, body: Callable[[Tensor], Mapping[str, Tensor]], images: Tensor) -> list[Tensor]:
        maps, size = _maps(body, self.tap_modules, images), (images.shape[2], images.shape[3])
        return [*maps, *(make(maps[-1], size, full_image_box(size)) for make in self.contexts if not make.is_global)]

    def _shapes(self, height: int, width: int) -> list[torch.Size]:
        return [cells.shape for cells in self._maps_without_values(torch.empty(1, 3, height, width, device="meta"))]

    @property
    def _maps_without_values(self) -> Maps:
        # By `forward`: a call would print what is wrong with it before it raises.
        return functools.partial(_maps, self._skeleton[0].forward, self.tap_modules)

    def _least_side(self) -> int:
        def takes(side: int) -> bool:
            try:
                return all(0 not in shape for shape in self._shapes(side, side))
            except Exception:  # torch's words, or the network's own, for what is too small
                return False

        enough = next((side for side in CANDIDATE_SIDES if takes(side)), CANDIDATE_SIDES[-1])
        return bisect.bisect_left(range(enough), True, lo=enough // 2 + 1, key=takes)

    def _derive(self) -> NetworkInfo:
        side = self._least_side()
        try:
            small, large = self._shapes(side, side), self._shapes(2 * side + 13, 3 * side + 17)
        except Exception as error:
            raise networks.unusable(self.network, "it does not give maps of images of every size", error) from error
        for modules, one, other in zip(self.tap_modules, small, large, strict=True):
            if len(one) != 4 or one[1] != other[1]:
                shape = f"{modules[0]} gives {(*other,)}, not (batch, channels, height, width)"
                raise networks.unusable(self.network, shape)
        try:
            axes = cell_grids(self._maps_without_values, side)
        except Exception as error:
            raise networks.unusable(self.network, "where its cells lie can't be found", error) from error
        layers = [
            Tap(modules[0], shape[1], both) for modules, shape, both in zip(self.tap_modules, small, axes, strict=True)
        ]
        return NetworkInfo(side, shift_periods(self._skeleton[0]), tuple(layers))

    def _count(self, found: dict[int, int], axis: int, size: int) -> int:
        """How many cells the deepest map has along an axis of `size` pixels; `found` are those worked out before."""
        if size not in found:
            sides = (size, self.min_side) if axis == 0 else (self.min_side, size)
            found[size] = self._shapes(*sides)[-1][axis + 2]
        return found[size]

    def _freeze(self) -> None:
        """Set `requires_grad` of the parameters, and `_frozen`, the modules that stay in evaluation mode."""
        count = len(self.tap_modules) if self.trainable == "all" else self.trainable
        if isinstance(count, bool) or not isinstance(count, int) or not 0 <= count <= len(self.tap_modules):
            raise HypercolumnsError(
                f"cnn.trainable={self.trainable} must be a number of taps, from 0 to {len(self.tap_modules)}, or all"
            )
        used = _used_by(self.body, self.tap_modules[: len(self.tap_modules) - count])
        self._frozen = [part for part in used if isinstance(part, nn.Module)] if count else [self.body]
        self.body.requires_grad_(True)
        for part in used if count else self._frozen:
            part.requires_grad_(False)


def _maps(
    body: Callable[[Tensor], Mapping[str, Tensor]], tap_modules: Sequence[Sequence[str]], images: Tensor
) -> list[Tensor]:
    """The map of each tap of the network, given what it gives of its modules."""
    outputs = body(images)
    return [
        torch.cat([outputs[module] for module in modules], dim=1) if len(modules) > 1 else outputs[modules[0]]
        for modules in tap_modules
    ]


def _of_channels(name: str, values: Sequence[float]) -> Tensor:
    """A number for each channel of the input, (3, 1, 1); raises HypercolumnsError for anything else."""
    wrong = isinstance(values, str) or not isinstance(values, Sequence) or len(values) != 3
    if wrong or not all(type(one) in (int, float) and math.isfinite(one) and (one or name == "mean") for one in values):
        positive = "" if name == "mean" else ", none of them 0"
        raise HypercolumnsError(f"cnn.{name}={values} must be [red,green,blue], numbers{positive}")
    return torch.tensor(values, dtype=torch.float32)[:, None, None]


def _sorted(
    taps: Sequence[str | Sequence[str]],
) -> tuple[tuple[tuple[str, ...], ...], tuple[context.ContextTap, ...]]:
    """The modules of each tap of the network, and the context taps, those of the whole last."""
    groups = [(tap,) if isinstance(tap, str) else tuple(tap) for tap in taps]
    made = [context.parse(group[0]) if len(group) == 1 else None for group in groups]
    layers = tuple(group for group, one in zip(groups, made, strict=True) if one is None)
    if not layers or any(one is not None for one in made[: len(layers)]):
        raise HypercolumnsError(
            f"cnn.taps={[*taps]} must name modules of the network first, and then context taps, which are made from "
            f"the last of them"
        )
    names = [one.name for one in made if one is not None]
    if doubled := [name for name in names if names.count(name) > 1]:
        raise HypercolumnsError(f"{doubled[0]} is named twice in cnn.taps and cnn.context; name it once")
    return layers, tuple(sorted((one for one in made if one is not None), key=lambda one: one.is_global))


def _contexts(names: Sequence[str] | None) -> Sequence[str]:
    """The setting `cnn.context`; raises HypercolumnsError unless it is a list of context taps."""
    names = () if names is None else names
    if isinstance(names, str) or not isinstance(names, Sequence) or any(context.parse(name) is None for name in names):
        raise HypercolumnsError(f"cnn.context={names} must be a list of context taps, such as [pyramid:6,window:3]")
    return names


def _cut(name: str, network: nn.Module, tap_modules: Sequence[Sequence[str]]) -> GraphModule:
    """The network up to its last tap, as a graph that returns the taps' modules by name."""
    network.eval()
    settings: dict[str, Any] = {"tracer_kwargs": networks.tracing(name), "suppress_diff_warning": True}
    modules = [module for tap in tap_modules for module in tap]
    try:
        body: GraphModule = create_feature_extractor(network, modules, **settings)
    except Exception as error:  # whatever the network's own code raises when it is traced
        raise _uncut(name, network, modules, settings, error) from error
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


def _uncut(
    name: str, network: nn.Module, modules: Sequence[str], settings: dict[str, Any], error: Exception
) -> HypercolumnsError:
    """The error for a network that can't be cut at these modules: for it lacks one, or can't be traced."""
    try:
        known = get_graph_node_names(network, **settings)[1]
    except Exception:
        known = []
    for module in modules if known else ():
        if not any(f"{one}.".startswith(f"{module}.") for one in known):
            similar = (
                known if len(known) <= MAX_NAMES else difflib.get_close_matches(module, known, MAX_NAMES, cutoff=0)
            )
            return HypercolumnsError(
                f"cnn.taps names {module}, which this network does not have; it has {', '.join(similar)}"
                f"{f' and {len(known) - len(similar)} more' if len(similar) < len(known) else ''}"
            )
    return networks.unusable(name, "torch.fx can't trace it", error)


def _without_values(body: GraphModule) -> GraphModule:
    """A copy on the meta device, in evaluation mode: for shapes."""
    empty: dict[int, Tensor] = {id(one): nn.Parameter(one.to("meta"), False) for one in body.parameters()}
    twin: GraphModule = copy.deepcopy(body, empty | {id(one): one.to("meta") for one in body.buffers()})
    return twin.eval()


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


def _used_by(body: GraphModule, tap_modules: Sequence[Sequence[str]]) -> list[nn.Module | Tensor]:
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


def _parameters(part: nn.Module | Tensor) -> list[nn.Parameter]:
    """Of a module, or of a tensor that may be one."""
    if isinstance(part, nn.Module):
        return list(part.parameters())
    return [part] if isinstance(part, nn.Parameter) else []
