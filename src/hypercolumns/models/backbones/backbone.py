"""A convolutional network that gives one map per tap."""

import copy
import functools
import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, TypeVar

import torch
from torch import Tensor, nn
from torch.fx import GraphModule

from hypercolumns.coordinates import full_image_box
from hypercolumns.errors import ArgumentError
from hypercolumns.models.backbones import _fx, _weights, networks
from hypercolumns.models.backbones._network_info import map_shapes, network_info
from hypercolumns.models.backbones.context import check_context, split_taps
from hypercolumns.runtime import randomness

T = TypeVar("T")
Trainable = int | Literal["all"]

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


def as_float(images: Tensor) -> Tensor:
    """Images, uint8 or float in [0, 1], as float in [0, 1]."""
    return images / 255 if images.dtype == torch.uint8 else images


class Backbone(nn.Module):
    """A network cut off after its last tap, with the normalisation of its input.

    >>> backbone = Backbone("squeezenet1_0", ["features.0", "features.3.squeeze"])
    >>> [tuple(values.shape) for values in backbone(torch.rand(1, 3, 40, 50))]
    [(1, 96, 17, 22), (1, 16, 8, 11)]
    >>> backbone.channels
    112

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
                such as `pyramid:6`, `local_mean:3` and `coordinates`, see `backbones.context`; those of the whole image
                are put last.
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
            ArgumentError: for an unknown network, tap or setting, and weights that don't fit.
        """
        super().__init__()
        if isinstance(network, str) and taps is None:
            taps = networks.default_taps(network)
        if not isinstance(network, str) or not taps:
            raise ArgumentError(f"network={network} and taps={taps} must name a network and modules of it")
        self.network = network
        self.tap_modules, self.contexts = split_taps([*taps, *check_context(context)])
        self.trainable = trainable
        self.body = self._build(seed if weights is None else None)
        mean, std = self._load(weights, mean, std)
        self.register_buffer("mean", _of_channels("mean", mean))
        self.register_buffer("std", _of_channels("std", std))
        self._derive()
        self._freeze()
        self.train(self.training)

    def _build(self, seed: int | None) -> GraphModule:
        """The network up to its last tap, with random weights by this seed; None: to load weights into."""
        if seed is None:
            return _fx.cut(self.network, networks.build_blank(self.network), self.tap_modules)
        with randomness.seeded(seed, "backbone"):
            return _fx.cut(self.network, networks.build(self.network), self.tap_modules)

    def _load(
        self,
        weights: str | Mapping[str, Tensor] | None,
        mean: Sequence[float] | None,
        std: Sequence[float] | None,
    ) -> tuple[Sequence[float], Sequence[float]]:
        """Load weights, if there are any; the mean and std of the input that go with them, else those given."""
        if isinstance(weights, str):
            state, normalisation = _weights.load(self.network, weights)
            _weights.assign(self.body, state, f"weights={weights}")
            mean, std = normalisation or (mean, std)
        elif weights is not None:
            _weights.assign(self.body, weights, "weights (a state dict)")
        for layer in self.body.modules():
            if isinstance(layer, nn.Conv2d):
                layer.to(memory_format=torch.channels_last)  # twice as fast on a CPU
        if mean is None or std is None:
            return networks.default_normalisation(self.network)
        return mean, std

    def _derive(self) -> None:
        """Set what follows from the network and its taps: `min_side`, `shift_period` and `taps`."""
        self._skeleton = [_fx.without_values(self.body)]  # in a list, so that it is not taken for a part of this module
        self.min_side, self.shift_period, layers = network_info(self.network, self._skeleton[0], self.tap_modules)
        counts = functools.partial(self._count, {}, 0), functools.partial(self._count, {}, 1)
        self.taps = (*layers, *(make.tap(layers[-1], counts) for make in self.contexts))

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
    def device(self) -> torch.device:
        """Where it is."""
        return self.get_buffer("mean").device

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

        Raises ArgumentError if there are some for which torch can't do that.
        """
        frozen = {id(part) for module in self._frozen for part in module.modules()}
        for name, layer in list(self.body.named_modules()):
            if isinstance(layer, nn.modules.batchnorm._BatchNorm) and id(layer) not in frozen:
                if type(layer) is not nn.BatchNorm2d or layer.weight.device.type != "cuda":
                    raise ArgumentError(
                        f"trainable={self.trainable}: {self.network} has layers of BatchNorm ({name}), which several "
                        f"processes can train on GPUs alone, and only plain ones; train none, or in one process"
                    )
                self.body.set_submodule(name, nn.SyncBatchNorm.convert_sync_batchnorm(layer))

    def __deepcopy__(self, memo: dict[int, Any]) -> "Backbone":
        """A copy in the same mode: a copy of a traced network alone would be in training mode."""
        twin = type(self).__new__(type(self))
        memo |= {id(self): twin, id(self._skeleton): self._skeleton}  # which never changes
        twin.__dict__ = copy.deepcopy(self.__dict__, memo)
        return twin.train(self.training)

    def tap_parameters(self) -> list[list[nn.Parameter]]:
        """Group the parameters by tap, shallow to deep.

        Group i holds those that tap i uses and no earlier tap does; those that no tap uses go to the last group.
        """
        return _fx.parameters_by_tap(self.body, self.tap_modules)

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
        maps, size = _fx.run_body(body, self.tap_modules, images), (images.shape[2], images.shape[3])
        return [*maps, *(make(maps[-1], size, full_image_box(size)) for make in self.contexts if not make.is_global)]

    def _count(self, found: dict[int, int], axis: int, size: int) -> int:
        """How many cells the deepest map has along an axis of `size` pixels; `found` are those worked out before."""
        if size not in found:
            sides = (size, self.min_side) if axis == 0 else (self.min_side, size)
            found[size] = map_shapes(self._skeleton[0], self.tap_modules, *sides)[-1][axis + 2]
        return found[size]

    def _freeze(self) -> None:
        """Set `requires_grad` of the parameters, and `_frozen`, the modules that stay in evaluation mode."""
        count = len(self.tap_modules) if self.trainable == "all" else self.trainable
        if isinstance(count, bool) or not isinstance(count, int) or not 0 <= count <= len(self.tap_modules):
            raise ArgumentError(
                f"trainable={self.trainable} must be a number of taps, from 0 to {len(self.tap_modules)}, or all"
            )
        used = _fx.used_by(self.body, self.tap_modules[: len(self.tap_modules) - count])
        self._frozen = [part for part in used if isinstance(part, nn.Module)] if count else [self.body]
        self.body.requires_grad_(True)
        for part in used if count else self._frozen:
            part.requires_grad_(False)


def _of_channels(name: str, values: Sequence[float]) -> Tensor:
    """A number for each channel of the input, (3, 1, 1); raises ArgumentError for anything else."""
    wrong = isinstance(values, str) or not isinstance(values, Sequence) or len(values) != 3
    if wrong or not all(type(one) in (int, float) and math.isfinite(one) and (one or name == "mean") for one in values):
        positive = "" if name == "mean" else ", none of them 0"
        raise ArgumentError(f"{name}={values} must be [red,green,blue], numbers{positive}")
    return torch.tensor(values, dtype=torch.float32)[:, None, None]
