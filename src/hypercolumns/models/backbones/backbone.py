"""The backbone: a network that returns one feature map for each tap."""

import copy
import functools
import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypeVar

import torch
from torch import Tensor, nn

from hypercolumns.coordinates import ImageSize, full_image_box
from hypercolumns.errors import ArgumentError, HypercolumnsError, check_bool, check_int, check_number, is_int
from hypercolumns.io.decoding import RGB
from hypercolumns.models.backbones import _network_info, _readers, networks
from hypercolumns.models.backbones._assembly import Assembly, assemble
from hypercolumns.models.backbones._body import TapModules, parameters_of, run_body, without_values
from hypercolumns.models.backbones._network_info import from_record, to_record
from hypercolumns.models.backbones._normalisation import channel_values, choose_values
from hypercolumns.models.backbones._training import check_drop_path, use_grad_checkpointing
from hypercolumns.models.backbones.context import check_context, split_taps
from hypercolumns.models.backbones.peak_memory import peak_bytes
from hypercolumns.models.backbones.weights import assign_weights, load_weights
from hypercolumns.runtime import randomness

T = TypeVar("T")
Trainable = int | Literal["all"]

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


def as_float(images: Tensor) -> Tensor:
    """Convert uint8 images to float in [0, 1]; return float images unchanged."""
    return images / 255 if images.dtype == torch.uint8 else images


class Backbone(nn.Module):
    """A network, cut off after its last tap, that normalises its input and returns the map of each tap.

    >>> import torch
    >>> from hypercolumns import Backbone
    >>> backbone = Backbone("squeezenet1_0", ["features.0", "features.3.squeeze"])
    >>> [tuple(values.shape) for values in backbone(torch.rand(1, 3, 40, 50))]
    [(1, 96, 17, 22), (1, 16, 8, 11)]
    >>> backbone.channels
    112

    Args:
        network: the name of a model of torchvision (`resnet18`), `timm/<name>` for a model of timm, or `rgb` for a
            network that returns the image itself.
        taps: the paths of modules of the network (`features.0`), from shallow to deep. The map of a tap is the module's
            output, before any ReLU that follows the module. An item that is a list of paths is one tap: the outputs of
            its modules are concatenated along the channels. The names of context taps (`pyramid:6`, see
            `backbones.context`) may follow the modules. None: the modules that timm lists as the model's feature maps;
            allowed only for networks of timm.
        weights: the name of weights of torchvision (`IMAGENET1K_V1`), `pretrained` for timm's weights, the path of a
            file or of a folder of the Hugging Face Hub, a state dict, or None for random weights.
        trainable: which layers are trained. A number n: the layers that the last n taps use (context taps do not
            count), except layers that a tap before these n uses too. 0: no layers. "all": every layer. Layers that are
            not trained are frozen: neither their weights nor their BatchNorm statistics change.
        mean: three numbers (red, green, blue), which are subtracted from images in [0, 1]. They are ignored if
            `weights` is a name, or a file or folder that states a mean and standard deviation, because these weights
            have their own. For images of another number of channels, channels after the third have the mean of the
            three numbers; a list of `input_channels` numbers gives each channel its own, and is never ignored.
        std: three numbers other than 0 (red, green, blue), by which the images are then divided, or a list, as for
            `mean`. If `mean` or `std` is None, both are those of timm's pretrained weights; None is allowed only for
            networks of timm.
        seed: the seed from which random weights are drawn; used only if `weights` is None.
        context: the names of further context taps, which follow those in `taps`; None: no further context taps.
        info: what `Backbone.info` returned for a backbone with the same network and taps, for example the one whose
            weights are loaded. None: the properties of the network's maps are looked up in a table of this package, or
            derived from the network's layers.
        input_channels: the number N of channels of the images. If it is not three, the first convolution of the network
            takes N channels. Weights for RGB are adapted: the first three channels are taken for red, green and blue,
            see `widening.widen_filters`. timm adapts its pretrained weights by a rule of its own.
        norm: whether the network's last normalisation layer is applied to the map of every tap; only for transformers
            and hybrids of timm.
        drop_path: the rate in [0, 1) at which residual branches are left out of an image in training (stochastic depth,
            Huang et al., arXiv:1603.09382), only in layers that are trained. It belongs to the deepest block of the
            whole network; timm lets it rise from 0 in the first block. None or 0: none is left out. Only for networks
            of timm. It is not in a model's file.
        grad_checkpointing: whether the activations of blocks are computed again in the backward pass, in place of being
            held. Gradients are the same, up to rounding; training needs less memory and more time. Only for networks
            that are read by blocks.

    Attributes:
        network: the name of the network.
        body: the network, cut off after the last tap. Its tensors have the names of weight files.
        tap_modules: for each tap on modules of the network, the paths of these modules.
        contexts: the context taps; the global ones come last.
        taps: one `Tap` for each map that `forward` returns, in the same order: first the taps on modules, then
            `contexts`.
        min_side: the minimum height and width of an image that the network accepts, in pixels.
        multiple: the sides of an image that the network accepts are multiples of this number of pixels; `pad` makes
            them so.
        fixed_size: the only (height, width) in pixels that the network accepts; None: it accepts any size from
            `min_side`.
        shift_period: two numbers of pixels, (along y, along x). If an image is shifted along y by a multiple of the
            first, or along x by a multiple of the second, all maps shift by whole cells.
        trainable: the argument `trainable`.
        input_channels: the number of channels of the images.
        norm: the argument `norm`.

    Raises:
        ArgumentError: if the network or a tap is unknown, an argument has a value that is not allowed, or the weights
            can't be loaded into the network.
        HypercolumnsError: if the network is one of timm, and timm is not installed.
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
        info: Mapping[str, Any] | None = None,
        input_channels: int = RGB,
        norm: bool = False,
        drop_path: float | None = None,
        grad_checkpointing: bool = False,
    ) -> None:
        super().__init__()
        check_int("input_channels", input_channels, minimum=1)
        check_bool("grad_checkpointing", grad_checkpointing)
        if drop_path is not None:
            check_number("drop_path", drop_path, below=1)
        self.input_channels = input_channels
        if isinstance(network, str) and taps is None:
            taps = networks.default_taps(network)
        if not isinstance(network, str) or not taps:
            raise ArgumentError(
                f"network={network} must be the name of a network, and taps={taps} a list of one or more of its modules"
            )
        self.network = network
        self.tap_modules, self.contexts = split_taps([*taps, *check_context(context)])
        self.trainable, self.norm = trainable, norm
        self._reader, self.body, self._info = self._assemble(seed if weights is None else None, info, drop_path)
        check_drop_path(network, self.body, drop_path)
        mean, std = self._load(weights, mean, std)
        self.register_buffer("mean", channel_values("mean", mean, input_channels))
        self.register_buffer("std", channel_values("std", std, input_channels))
        self.min_side, self.shift_period = self._info.min_side, self._info.shift_period
        self.multiple, self.fixed_size = self._info.multiple, self._info.fixed_size
        counts = functools.partial(self._count, {}, 0), functools.partial(self._count, {}, 1)
        deepest = self._info.layers[-1]
        self.taps = (*self._info.layers, *(context.tap(deepest, counts) for context in self.contexts))
        self._freeze()
        if grad_checkpointing:
            use_grad_checkpointing(network, self._reader.kind, self.body, self._frozen)
        self.train(self.training)

    def _assemble(self, seed: int | None, info: Mapping[str, Any] | None, drop_path: float | None) -> Assembly:
        """Build the network up to its last tap.

        Args:
            seed: the seed from which random weights are drawn. None: the weights are undefined, and the caller must
                load weights afterwards.
            info: see the class.
            drop_path: see the class.

        Returns:
            The network, its reader, and the properties of its maps.
        """
        key = _network_info.make_key(self.network, self.tap_modules, self.input_channels, self.norm)
        known = _network_info.look_up(key) if info is None else from_record(info, self.tap_modules)

        def build() -> nn.Module:
            if seed is None:
                return networks.build_blank(self.network, self.input_channels, drop_path)
            return networks.build(self.network, self.input_channels, drop_path)

        with randomness.seeded(seed or 0, "backbone"):
            return assemble(key, build, known)

    def _load(
        self,
        weights: str | Mapping[str, Tensor] | None,
        mean: Sequence[float] | None,
        std: Sequence[float] | None,
    ) -> tuple[Sequence[float], Sequence[float]]:
        """Load the weights unless they are None, and choose the normalisation of the input.

        Args:
            weights: see the class.
            mean: see the class.
            std: see the class.

        Returns:
            The mean and the standard deviation to use: those that belong to the weights or to the network, or else the
            arguments.
        """
        if isinstance(weights, str):
            state, normalisation = load_weights(self.network, weights, self.input_channels)
            assign_weights(self.body, state, f"weights={weights}", self.network)
            if normalisation is not None:
                own_mean, own_std = normalisation
                mean = choose_values(mean, own_mean, self.input_channels)
                std = choose_values(std, own_std, self.input_channels)
        elif weights is not None:
            assign_weights(self.body, weights, "weights (a state dict)")
        for layer in self.body.modules():
            if isinstance(layer, nn.Conv2d):
                layer.to(memory_format=torch.channels_last)  # convolutions are then twice as fast on a CPU
        if mean is None or std is None:
            return networks.default_normalisation(self.network)
        return mean, std

    @functools.cached_property
    def _skeleton(self) -> nn.Module:
        """A copy of the network on the meta device, where tensors have no values.

        A cached property is no submodule, so the tensors of the copy are not in the state dict.
        """
        with torch.inference_mode(False):  # the first access may be during a prediction
            return without_values(self.body)

    def forward(self, images: Tensor, boxes: Tensor | None = None) -> list[Tensor]:
        """Compute the map of each tap.

        Args:
            images: (B, N, H, W), float in [0, 1], with N = `input_channels`, of a size that the network accepts; `pad`
                enlarges other images.
            boxes: (B, 4), crop boxes, see `hypercolumns.coordinates`; None: the images are not crops.

        Returns:
            One map (B, C_l, h_l, w_l) for each of `taps`, in the same order. Maps of convolutional layers have the
            memory format channels_last.
        """
        return self.with_context(self.layer_maps(images), (images.shape[2], images.shape[3]), boxes)

    def with_context(self, layers: Sequence[Tensor], size: ImageSize, boxes: Tensor | None = None) -> list[Tensor]:
        """Add the maps of the context taps to the maps of the taps on modules.

        Args:
            layers: the maps of the taps on modules, for the whole images.
            size: (height, width) of the images in pixels.
            boxes: (B, 4), crop boxes, see `hypercolumns.coordinates`; None: the images are not crops.

        Returns:
            The maps of all `taps`, in the same order.
        """
        return [*layers, *self._local_contexts(layers[-1], size), *self.global_maps(layers[-1], size, boxes)]

    def local_maps(self, images: Tensor) -> list[Tensor]:
        """Compute the maps of the local taps: the taps that are not global (see `Tap.is_global`).

        Args:
            images: see `layer_maps`.

        Returns:
            One map (B, C_l, h_l, w_l) for each local tap. In `taps`, the local taps come before the global taps.
        """
        maps = self.layer_maps(images)
        return [*maps, *self._local_contexts(maps[-1], (images.shape[2], images.shape[3]))]

    def layer_maps(self, images: Tensor) -> list[Tensor]:
        """Compute the maps of the taps on modules of the network.

        Args:
            images: (B, N, H, W), float in [0, 1], with N = `input_channels`, of a size that the network accepts.

        Returns:
            One map (B, C_l, h_l, w_l) for each of `tap_modules`.

        Raises:
            HypercolumnsError: if the images have another number of channels.
        """
        if images.shape[1] != self.input_channels:
            raise HypercolumnsError(
                f"the images have {images.shape[1]} channels, but this model takes images with {self.input_channels}; "
                f"give the channels that the model was trained on, in the same order"
            )
        mean, std = self.get_buffer("mean"), self.get_buffer("std")
        maps = run_body(functools.partial(self._reader, self.body), self.tap_modules, (images - mean) / std)
        self._check_maps(maps, images.shape[2], images.shape[3])
        return maps

    def _local_contexts(self, deepest: Tensor, size: ImageSize) -> list[Tensor]:
        """Compute the maps of the context taps that are not global, from the deepest map of images of a size."""
        box = full_image_box(size)
        return [context(deepest, size, box) for context in self.contexts if not context.is_global]

    def deepest(self, local: Sequence[T]) -> T:
        """Return the item of the deepest map from a list with one item for each local tap.

        The deepest map is the map of the last tap on modules of the network.

        Args:
            local: the items, for example the maps of the local taps, in the order of `taps`. Items of global taps may
                follow.
        """
        return local[len(self.tap_modules) - 1]

    def global_maps(self, deepest: Tensor, size: tuple[int, int], boxes: Tensor | None = None) -> list[Tensor]:
        """Compute the maps of the global taps.

        Args:
            deepest: (B, C, h, w), the deepest map of the whole images. A map of only a window is not enough.
            size: (height, width) of the images in pixels.
            boxes: (B, 4), crop boxes, see `hypercolumns.coordinates`; None: the images are not crops.

        Returns:
            One map (B, C_l, h_l, w_l) for each global tap, in the order of `taps`.
        """
        boxes = full_image_box(size) if boxes is None else boxes
        return [context(deepest, size, boxes) for context in self.contexts if context.is_global]

    def padded_size(self, height: int, width: int) -> tuple[int, int]:
        """Return the smallest size from (height, width), in pixels, that the network accepts, see `pad`.

        In an export, the sides may be symbolic.
        """
        rows, columns = (
            # Rounded up in a form that ONNX computes alike: its division rounds negative numbers the other way.
            (torch.sym_max(side, self.min_side) + self.multiple - 1) // self.multiple * self.multiple
            for side in (height, width)
        )
        return rows, columns  # type: ignore[return-value]  # symbolic only in an export

    def pad(self, images: Tensor) -> Tensor:
        """Enlarge images (B, N, H, W) to a size that the network accepts by repeating the last row and column.

        The sides then are at least `min_side`, and multiples of `multiple`.
        """
        given = images.shape[-2:]
        rows, columns = (
            torch.arange(padded, device=images.device).clamp(max=side - 1)
            for padded, side in zip(self.padded_size(*given), given, strict=True)
        )
        return images.index_select(2, rows).index_select(3, columns)

    @property
    def device(self) -> torch.device:
        """The device that holds the backbone's weights."""
        return self.get_buffer("mean").device

    @property
    def channels(self) -> int:
        """The length D of a hypercolumn: the sum of the taps' channels."""
        return sum(tap.channels for tap in self.taps)

    def map_sizes(self, height: int, width: int) -> list[tuple[int, int]]:
        """Return the size (h_l, w_l) of each tap's map for an image of `height` x `width` pixels."""
        layers = self._layer_sizes(height, width)
        return [*layers, *(context.size(layers[-1]) for context in self.contexts)]

    def peak_bytes(self, count: int, height: int, width: int) -> int:
        """Estimate the peak memory of `local_maps` without computing anything, see `peak_memory`.

        The memory of the weights does not count. If autograd is on and a layer is trained, the tensors that are kept
        for the backward pass do count, but not those that the backward pass makes. Under autocast, the result is that
        of tensors of half the size: a lower bound, because some operations keep their precision.

        Args:
            count: the number of images.
            height: the height of the images in pixels; the network accepts it.
            width: the width of the images in pixels; the network accepts it.

        Returns:
            A number of bytes.
        """
        trained = {name for name, parameter in self.body.named_parameters() if parameter.requires_grad}
        skeleton = self._skeleton
        if trained and torch.is_grad_enabled():
            skeleton = without_values(self.body)
            for name, parameter in skeleton.named_parameters():
                parameter.requires_grad_(name in trained)
        read, scale = _readers.quiet(self._reader, skeleton), torch.ones(1, device="meta")

        def run() -> object:
            images = torch.empty(count, self.input_channels, height, width, device="meta")
            return run_body(read, self.tap_modules, (images - scale) / scale)

        peak = peak_bytes(run, [*skeleton.parameters(), *skeleton.buffers()])
        return peak // 2 if torch.is_autocast_enabled(self.device.type) else peak

    def train(self, mode: bool = True) -> "Backbone":
        """Put the backbone into training mode or, if `mode` is false, into evaluation mode.

        Frozen layers always stay in evaluation mode, so that their BatchNorm statistics do not change.
        """
        super().train(mode)
        for module in self._frozen:
            module.eval()
        return self

    def synchronize_batch_norm(self) -> None:
        """Replace the BatchNorm layers that are not frozen by SyncBatchNorm layers.

        A SyncBatchNorm layer takes its statistics over the mini-batches of all ranks.

        Raises:
            ArgumentError: if a BatchNorm layer that is not frozen is not on a CUDA GPU, or is not a plain
                `nn.BatchNorm2d`.
        """
        frozen = {id(part) for module in self._frozen for part in module.modules()}
        for name, layer in list(self.body.named_modules()):
            if isinstance(layer, nn.modules.batchnorm._BatchNorm) and id(layer) not in frozen:
                if type(layer) is not nn.BatchNorm2d or layer.weight.device.type != "cuda":
                    raise ArgumentError(
                        f"trainable={self.trainable} trains BatchNorm layers of {self.network} ({name}, for example); "
                        f"with several processes, trained BatchNorm layers must be plain nn.BatchNorm2d layers on CUDA "
                        f"GPUs; choose a value of trainable that freezes all BatchNorm layers, or use one process"
                    )
                self.body.set_submodule(name, nn.SyncBatchNorm.convert_sync_batchnorm(layer))

    def __deepcopy__(self, memo: dict[int, Any]) -> "Backbone":
        """Copy the backbone, and keep its mode (training or evaluation).

        By itself, deepcopy would put the GraphModule in the copy into training mode.
        """
        twin = type(self).__new__(type(self))
        memo[id(self)] = twin
        if "_skeleton" in self.__dict__:
            memo[id(self._skeleton)] = self._skeleton  # copies can share the skeleton: it never changes
        twin.__dict__ = copy.deepcopy(self.__dict__, memo)
        return twin.train(self.training)

    def holds(self, module: str) -> bool:
        """Return whether the network, cut off after its last tap, still has the module or operation of a tap."""
        return self._reader.holds(self.body, module)  # type: ignore[arg-type]

    def layer_groups(self) -> list[list[nn.Parameter]]:
        """Return groups of parameters, from shallow to deep, for learning rates that rise with the depth.

        A network that is read by its blocks (a transformer or hybrid) has one group for the layers before the first
        block, such as the patch embedding, the position embeddings and the class token, and one for each block up to
        the last tap, also if it has no tap. The blocks of a network with stages are its stages. Any other network has
        one group for each tap on modules: the parameters that the tap uses and that no earlier tap uses. Parameters
        that fit no group, such as the last normalisation layer, are in the last one.
        """
        return self._reader.layer_groups(self.body, self._meta_image(*self._smallest()))  # type: ignore[arg-type]

    def fingerprint(self) -> dict[str, object]:
        """Return all that determines the backbone's maps, as JSON-compatible values.

        This is the network's name, the taps, the mean and standard deviation, and a hash of the weights and buffers.
        """
        digest = hashlib.sha256()
        for name, tensor in self.body.state_dict().items():
            digest.update(name.encode())
            digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
        return {
            "network": self.network,
            "taps": [*(list(modules) for modules in self.tap_modules), *([context.name] for context in self.contexts)],
            "weights": digest.hexdigest()[:16],
            "mean": [round(value, 6) for value in self.get_buffer("mean").flatten().tolist()],
            "std": [round(value, 6) for value in self.get_buffer("std").flatten().tolist()],
            **({"norm": True} if self.norm else {}),
        }

    @property
    def info(self) -> Mapping[str, Any] | None:
        """The properties of the maps as JSON-compatible values, for the argument `info` of another backbone.

        None: no formula gives the sizes of all maps and the centres of their cells, so each backbone must derive them.
        """
        return to_record(self._info)

    def _check_maps(self, maps: Sequence[Tensor], height: int, width: int) -> None:
        """Check that the maps have the channels and sizes that are known of the network and its taps.

        Args:
            maps: the maps of the taps on modules of the network.
            height: the height of the images in pixels.
            width: the width of the images in pixels.

        Raises:
            HypercolumnsError: if a map has other channels or another size.
        """
        if torch.compiler.is_exporting():
            return  # the sizes are symbols, and a check would fix them
        sizes = self._info.map_sizes(height, width) or [(cells.shape[2], cells.shape[3]) for cells in maps]
        for tap, cells, size in zip(self._info.layers, maps, sizes, strict=True):
            if cells.shape[1:] != (tap.channels, *size):
                raise HypercolumnsError(
                    f"tap {tap.name} of {self.network} has a map of (channels, height, width) = {(*cells.shape[1:],)}, "
                    f"expected {(tap.channels, *size)}; use the versions of "
                    f"{' and '.join(networks.libraries(self.network))} that the model's header names, or for a network "
                    f"of conf/cnn run python -m hypercolumns.settings.known_networks"
                )

    def _count(self, cache: dict[int, int], axis: int, size: int) -> int:
        """Count the cells of the deepest map along one axis of an image.

        Args:
            cache: the known counts for this axis, by size; a new count is added.
            axis: 0 for y, 1 for x.
            size: how many pixels the image has along the axis.

        Returns:
            The number of cells along the axis.
        """
        if size not in cache:
            height, width = self._smallest()
            sides = (size, width) if axis == 0 else (height, size)
            cache[size] = self._layer_sizes(*sides)[-1][axis]
        return cache[size]

    def _layer_sizes(self, height: int, width: int) -> list[tuple[int, int]]:
        """Return the size (h_l, w_l) of the map of each tap on modules, for an image of `height` x `width` pixels."""
        sizes = self._info.map_sizes(height, width)
        if sizes is None:
            read = _readers.quiet(self._reader, self._skeleton)
            maps = run_body(read, self.tap_modules, self._meta_image(height, width))
            sizes = [(cells.shape[2], cells.shape[3]) for cells in maps]
        return sizes

    def _meta_image(self, height: int, width: int) -> Tensor:
        return torch.empty(1, self.input_channels, height, width, device="meta")

    def _smallest(self) -> tuple[int, int]:
        """Return the size of the smallest image that the network accepts, in pixels."""
        return self.fixed_size or (self.min_side, self.min_side)

    def _freeze(self) -> None:
        """Freeze all layers except those that `trainable` chooses, and parameters that no tap uses.

        This sets `requires_grad` of all parameters, and sets `_frozen` to the modules that stay in evaluation mode.

        Raises:
            ArgumentError: unless `trainable` is a number of taps or "all".
        """
        count = trainable_taps(self.trainable, len(self.tap_modules), self.network)
        self._frozen: list[nn.Module] = [] if count else [self.body]
        self.body.requires_grad_(False)
        if count == 0:
            return
        for parameter in parameters_of(self._used_by(self.tap_modules)):  # in DDP, one without a gradient is an error
            parameter.requires_grad_(True)
        frozen = self._used_by(self.tap_modules[: len(self.tap_modules) - count])
        self._frozen = [part for part in frozen if isinstance(part, nn.Module)]
        for parameter in parameters_of(frozen):
            parameter.requires_grad_(False)

    def _used_by(self, taps: TapModules) -> Sequence[nn.Module | Tensor]:
        """Return the parts of the network that the maps of some taps depend on."""
        return self._reader.used_by(self.body, taps, self._meta_image(*self._smallest()))  # type: ignore[arg-type]


def trainable_taps(trainable: object, taps: int, network: str) -> int:
    """Return how many of the last taps a backbone trains, by its argument `trainable`.

    Args:
        trainable: the argument: a number of taps, or "all".
        taps: the number of taps of the backbone, without context taps.
        network: the name of the network.

    Returns:
        The number of taps.

    Raises:
        ArgumentError: if `trainable` is neither, or is a number of taps above 0 of a network without layers.
    """
    if network in networks.OWN and is_int(trainable, minimum=1):
        raise ArgumentError(
            f"trainable={trainable} trains layers of the last taps, but {network} has no layers to train; use 0, which "
            f"trains the classifier alone, or another network"
        )
    if trainable == "all":
        return taps
    if isinstance(trainable, bool) or not isinstance(trainable, int) or not 0 <= trainable <= taps:
        raise ArgumentError(f"trainable={trainable} must be a number of taps, from 0 to {taps}, or the word all")
    return trainable
