"""A convolutional network that gives one map per tap."""

import copy
import functools
import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.fx import GraphModule, Node
from torchvision.models.feature_extraction import create_feature_extractor, get_graph_node_names

from hypercolumns import seeds
from hypercolumns.backbones import context, networks
from hypercolumns.backbones import weights as weights_module
from hypercolumns.backbones.geometry import geometries, periods
from hypercolumns.errors import HypercolumnsError
from hypercolumns.places import whole_frame
from hypercolumns.taps import Tap

T = TypeVar("T")
Trainable = int | Literal["all"]

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
LARGEST_MIN_SIDE = 512


class Backbone(nn.Module):
    """A network cut off after its last tap, with the normalisation of its input.

    Attributes:
        taps: what each map is and where its cells are centred; derived from the network.
        min_side: the least height and width of an image that the network takes; derived too.
        period: by how many pixels, along y and x, an image can be shifted so that its maps shift with it; derived too.
        trainable: how many of the last taps' layers are trained, or "all".
    """

    def __init__(
        self,
        network: str,
        taps: Sequence[str | Sequence[str]],
        weights: str | Mapping[str, Tensor] | None = None,
        trainable: Trainable = 0,
        mean: Sequence[float] = IMAGENET_MEAN,
        std: Sequence[float] = IMAGENET_STD,
        seed: int = 0,
    ) -> None:
        """Build the network and load its weights.

        Args:
            network: a name in torchvision.models, or `rgb` for the image itself.
            taps: modules of the network, by path (`features.0`), in the order of the network; a list of modules is one
                tap, the concatenation of their outputs. A tap is what the module gives, before what comes after it.
                After the modules there may be context taps, such as `pyramid:6`, `window:3` and `coordinates`: see
                `backbones.context`. Those that cells only see their surroundings in come before those of the whole.
            weights: the name of torchvision weights, the path of a file, a state dict, or None for random weights.
            trainable: 0 freezes all (statistics of BatchNorm too), n trains the layers of the last n taps, i.e. those
                that come after the tap before them, "all" trains all.
            mean: of the input's channels, for images in [0, 1]; weights by name bring their own.
            std: likewise.
            seed: of random weights.

        Raises:
            HypercolumnsError: for an unknown network, tap or setting, and weights that don't fit.
        """
        super().__init__()
        if not isinstance(network, str) or not taps:
            raise HypercolumnsError(f"cnn.network={network} and cnn.taps={taps} must name a network and modules of it")
        self.network = network
        self.tap_modules, self.contexts = _sorted(taps)
        self.trainable = trainable
        if weights is None:
            with seeds.seeded(seed, "backbone"):
                self.body = _cut(networks.build(network), self.tap_modules)
        else:
            self.body = _cut(networks.build_empty(network), self.tap_modules)
            state, normalisation = (
                weights_module.load(network, weights) if isinstance(weights, str) else (weights, None)
            )
            weights_module.assign(
                self.body, state, f"cnn.weights={weights}" if isinstance(weights, str) else "the file"
            )
            mean, std = normalisation or (mean, std)
        self.register_buffer("mean", torch.tensor(mean)[:, None, None])
        self.register_buffer("std", torch.tensor(std)[:, None, None])
        self.body.to(memory_format=torch.channels_last)  # twice as fast on a CPU
        # In a list, so that it is not taken for a part of this module.
        self._skeleton = [_cut(networks.build_empty(network), self.tap_modules)]
        self.min_side = self._least_side()
        self.taps = self._describe()
        self.period = periods(self.body, self.min_side)
        self._freeze()
        self.train(self.training)

    def forward(self, images: Tensor, frames: Tensor | None = None) -> list[Tensor]:
        """The maps (B, C_l, h_l, w_l) of images (B, 3, H, W) in [0, 1], with H and W at least `min_side`: see `pad`.

        What layers of the network make is laid out with its channels last. `frames` are those of crops, see `places`.
        """
        near = self.near(images)
        return [*near, *self.of_whole(self.deepest(near), (images.shape[2], images.shape[3]), frames)]

    def near(self, images: Tensor) -> list[Tensor]:
        """The maps whose cells see their surroundings: of all taps but the last ones, those `of_whole`."""
        mean, std = self.get_buffer("mean"), self.get_buffer("std")
        return self._near(self.body, (images - mean) / std)

    def deepest(self, near: Sequence[T]) -> T:
        """Of the near maps, or what there is of each, that of the last module: context taps are made from it."""
        return near[len(self.tap_modules) - 1]

    def of_whole(self, deepest: Tensor, size: tuple[int, int], frames: Tensor | None = None) -> list[Tensor]:
        """The maps of the images as a whole, of `size` = (height, width), from the deepest map of all of them."""
        frames = whole_frame(torch.empty(size, device="meta")) if frames is None else frames
        return [make(deepest, size, frames) for make in self.contexts if make.of_whole]

    def pad(self, images: Tensor) -> Tensor:
        """Images (B, 3, H, W), continued at the bottom and the right by their last pixels to at least `min_side`."""
        height, width = images.shape[-2:]
        missing = max(self.min_side - height, 0), max(self.min_side - width, 0)
        return F.pad(images, (0, missing[1], 0, missing[0]), mode="replicate") if any(missing) else images

    @property
    def channels(self) -> int:
        """D, the length of a hypercolumn."""
        return sum(tap.channels for tap in self.taps)

    def cells(self, height: int, width: int) -> list[tuple[int, int]]:
        """(h_l, w_l) of the maps of an image of that size."""
        near = self._near(self._skeleton[0], torch.empty(1, 3, height, width, device="meta"))
        maps = [*near, *self.of_whole(self.deepest(near), (height, width))]
        return [(cells.shape[2], cells.shape[3]) for cells in maps]

    def train(self, mode: bool = True) -> "Backbone":
        """As for any module, but what is frozen stays in evaluation mode: statistics of BatchNorm don't move."""
        super().train(mode)
        for module in self._frozen:
            module.eval()
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> "Backbone":
        """A copy in the same mode: a copy of a traced network alone would be in training mode."""
        twin = type(self).__new__(type(self))
        memo[id(self)] = twin
        twin.__dict__ = copy.deepcopy(self.__dict__, memo)
        return twin.train(self.training)

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

    def _near(self, body: nn.Module, images: Tensor) -> list[Tensor]:
        maps, size = self._maps(body, images), (images.shape[2], images.shape[3])
        return [*maps, *(make(maps[-1], size, whole_frame(images)) for make in self.contexts if not make.of_whole)]

    def _maps(self, body: nn.Module, images: Tensor) -> list[Tensor]:
        outputs: Mapping[str, Tensor] = body(images)
        return [
            torch.cat([outputs[module] for module in modules], dim=1) if len(modules) > 1 else outputs[modules[0]]
            for modules in self.tap_modules
        ]

    def _least_side(self) -> int:
        for side in range(1, LARGEST_MIN_SIDE + 1):
            try:
                cells = self.cells(side, side)
            except RuntimeError:  # torch's word for a kernel larger than what it should see
                continue
            if all(height and width for height, width in cells):
                return side
        raise HypercolumnsError(f"cnn.network={self.network} takes no image of up to {LARGEST_MIN_SIDE} pixels a side")

    def _describe(self) -> tuple[Tap, ...]:
        with torch.no_grad():
            shapes = self._maps(self.body.eval(), torch.zeros(1, 3, self.min_side, self.min_side))
        layers = [
            Tap(modules[0], cells.shape[1], axes)
            for modules, cells, axes in zip(
                self.tap_modules, shapes, geometries(self.body, self._maps, self.min_side), strict=True
            )
        ]
        counts = functools.partial(self._count, {}, 0), functools.partial(self._count, {}, 1)
        return (*layers, *(make.tap(layers[-1], counts) for make in self.contexts))

    def _count(self, found: dict[int, int], axis: int, size: int) -> int:
        """How many cells the deepest map has along an axis of `size` pixels; `found` are those worked out before."""
        if size not in found:
            sides = (size, self.min_side) if axis == 0 else (self.min_side, size)
            found[size] = self.deepest(self.cells(*sides))[axis]
        return found[size]

    def _freeze(self) -> None:
        """Set `requires_grad` of the parameters, and `_frozen`, the modules that stay in evaluation mode."""
        count = len(self.tap_modules) if self.trainable == "all" else self.trainable
        if isinstance(count, bool) or not isinstance(count, int) or not 0 <= count <= len(self.tap_modules):
            raise HypercolumnsError(
                f"cnn.trainable={self.trainable} must be a number of taps, from 0 to {len(self.tap_modules)}, or all"
            )
        frozen = _called_up_to(self.body, self.tap_modules[: len(self.tap_modules) - count])
        self._frozen = [self.body.get_submodule(path) for path in frozen] if count else [self.body]
        self.body.requires_grad_(True)
        for module in self._frozen:
            module.requires_grad_(False)


def _sorted(
    taps: Sequence[str | Sequence[str]],
) -> tuple[tuple[tuple[str, ...], ...], tuple[context.Context, ...]]:
    """The modules of each tap of the network, and the context taps, those of the whole last."""
    groups = [(tap,) if isinstance(tap, str) else tuple(tap) for tap in taps]
    made = [context.parse(group[0]) if len(group) == 1 else None for group in groups]
    layers = tuple(group for group, one in zip(groups, made, strict=True) if one is None)
    if not layers or any(one is not None for one in made[: len(layers)]):
        raise HypercolumnsError(
            f"cnn.taps={[*taps]} must name modules of the network first, and then context taps, which are made from "
            f"the last of them"
        )
    return layers, tuple(sorted((one for one in made if one is not None), key=lambda one: one.of_whole))


def _cut(network: nn.Module, tap_modules: Sequence[Sequence[str]]) -> GraphModule:
    """The network up to its last tap, as a graph that returns the taps' modules by name."""
    network.eval()
    modules = [module for tap in tap_modules for module in tap]
    known = get_graph_node_names(network)[1]
    for module in modules:
        if module not in known:
            raise HypercolumnsError(
                f"cnn.taps names {module}, which this network does not have; it has {', '.join(known)}"
            )
    body: GraphModule = create_feature_extractor(network, {module: module for module in modules})
    for layer in body.modules():
        if isinstance(getattr(layer, "inplace", None), bool):
            # Else the ReLU after a tap would overwrite it.
            layer.inplace = False  # type: ignore[assignment]
    _spare_memory(body)
    return body


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


def _called_up_to(body: GraphModule, tap_modules: Sequence[Sequence[str]]) -> list[str]:
    """Paths of the modules that the graph calls up to the last of these taps; none if there are no taps."""
    waiting = {module for tap in tap_modules for module in tap}
    paths = []
    for node in body.graph.nodes:
        if not waiting:
            break
        if node.op == "call_module":
            paths.append(str(node.target))
            waiting.discard(str(node.target))
    return paths
