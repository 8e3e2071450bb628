"""The backbone: a network that returns one feature map for each tap."""

import copy
import functools
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from hypercolumns.errors import ArgumentError, HypercolumnsError, check_bool, check_int, check_number
from hypercolumns.io.decoding import RGB
from hypercolumns.models.backbones import fine_tuning, networks
from hypercolumns.models.backbones._assembly import build_tapped
from hypercolumns.models.backbones._body import hash_weights
from hypercolumns.models.backbones._network_info import make_key, to_record
from hypercolumns.models.backbones._normalisation import IMAGENET_MEAN, IMAGENET_STD, channel_values
from hypercolumns.models.backbones._scales import ONE, check_scales
from hypercolumns.models.backbones.context import context_maps
from hypercolumns.models.backbones.fine_tuning import Trainable
from hypercolumns.models.backbones.tap_names import check_context, split_taps
from hypercolumns.models.backbones.weights import load_backbone
from hypercolumns.models.taps import Tap

T = TypeVar("T")


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
        scales: the scales at which the network sees the image: 1 for the image itself, 0.5 for half its height and
            width, 2 for twice its height and width. The maps of all scales are part of the hypercolumn. Allowed are
            whole numbers up to 8, and 1 divided by one of them.

    Attributes:
        network: the name of the network.
        body: the network, cut off after the last tap. Its tensors have the names of weight files.
        tap_modules: for each tap on modules of the network, the paths of these modules.
        tapped: the network with these taps alone.
        contexts: the context taps; the global ones come last.
        taps: one `Tap` for each map that `forward` returns, in the same order: `layer_taps`, then those of `contexts`.
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
        scales: Sequence[float] = (1,),
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
        key = make_key(network, self.tap_modules, input_channels, norm)
        self.tapped = build_tapped(key, seed if weights is None else None, info, drop_path, check_scales(scales))
        self.body, properties = self.tapped.body, self.tapped.info
        fine_tuning.check_drop_path(network, self.body, drop_path)
        mean, std = load_backbone(self.tapped, weights, mean, std)
        for layer in self.body.modules():
            if isinstance(layer, nn.Conv2d):
                layer.to(memory_format=torch.channels_last)  # convolutions are then twice as fast on a CPU
        self.register_buffer("mean", channel_values("mean", mean, input_channels))
        self.register_buffer("std", channel_values("std", std, input_channels))
        self.min_side, self.shift_period = properties.min_side, properties.shift_period
        self.multiple, self.fixed_size = properties.multiple, properties.fixed_size
        cells = self.tapped.deepest_cells
        counts = functools.partial(cells, {}, 0), functools.partial(cells, {}, 1)
        deepest = properties.layers[self.tapped.deepest]
        self.taps = (*properties.layers, *(context.tap(deepest, counts) for context in self.contexts))
        self._frozen = fine_tuning.freeze(self.tapped, trainable)
        fine_tuning.check_scales(self.tapped, self._frozen)
        if grad_checkpointing:
            fine_tuning.use_grad_checkpointing(self.tapped, self._frozen)
        self.train(self.training)

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
        layers = self.layer_maps(images)
        deepest = layers[self.tapped.deepest]
        return [*layers, *context_maps(self.contexts, deepest, (images.shape[2], images.shape[3]), boxes)]

    def local_maps(self, images: Tensor) -> list[Tensor]:
        """Compute the maps of the local taps: the taps that are not global (see `Tap.is_global`).

        Args:
            images: see `layer_maps`.

        Returns:
            One map (B, C_l, h_l, w_l) for each local tap. In `taps`, the local taps come before the global taps.
        """
        maps = self.layer_maps(images)
        local = [context for context in self.contexts if not context.is_global]
        return [*maps, *context_maps(local, maps[self.tapped.deepest], (images.shape[2], images.shape[3]))]

    def layer_maps(self, images: Tensor) -> list[Tensor]:
        """Compute the maps of the taps on modules of the network.

        Args:
            images: (B, N, H, W), float in [0, 1], with N = `input_channels`, of a size that the network accepts.

        Returns:
            One map (B, C_l, h_l, w_l) for each of `layer_taps`.

        Raises:
            HypercolumnsError: if the images have another number of channels.
        """
        if images.shape[1] != self.input_channels:
            raise HypercolumnsError(
                f"the images have {images.shape[1]} channels, but this model takes images with {self.input_channels}; "
                f"give the channels that the model was trained on, in the same order"
            )
        return self.tapped.maps((images - self.get_buffer("mean")) / self.get_buffer("std"))

    def deepest(self, local: Sequence[T]) -> T:
        """Return the item of the deepest map from a list with one item for each local tap.

        The deepest map is the map of the last tap on modules of the network, at scale 1 if the network sees this scale.

        Args:
            local: the items, for example the maps of the local taps, in the order of `taps`. Items of global taps may
                follow.
        """
        return local[self.tapped.deepest]

    def padded_size(self, height: int, width: int) -> tuple[int, int]:
        """Return the smallest size from (height, width), in pixels, that the network accepts, see `pad`.

        In an export, the sides may be symbolic.
        """
        sizes = self.tapped.info.sizes
        return sizes.rounded(height), sizes.rounded(width)

    def pad(self, images: Tensor) -> Tensor:
        """Enlarge images (B, N, H, W) to a size that the network accepts by repeating the last row and column.

        The sides then are at least `min_side`, and multiples of `multiple`.
        """
        return self.tapped.info.sizes.pad(images)

    @property
    def device(self) -> torch.device:
        """The device that holds the backbone's weights."""
        return self.get_buffer("mean").device

    @property
    def layer_taps(self) -> tuple[Tap, ...]:
        """The taps on modules: those of all `tap_modules` at the largest scale, then those at the next one."""
        return self.taps[: len(self.tapped.info.layers)]

    @property
    def enlargement(self) -> float:
        """The largest scale at which the network sees the image, or 1 if it sees no larger image."""
        return float(max([ONE, *self.tapped.scales]))

    @property
    def sees_scales(self) -> bool:
        """Whether the network sees the image at more than one scale, or at another one than its own."""
        return self.tapped.scales != (ONE,)

    @property
    def channels(self) -> int:
        """The length D of a hypercolumn: the sum of the taps' channels."""
        return sum(tap.channels for tap in self.taps)

    def map_sizes(self, height: int, width: int) -> list[tuple[int, int]]:
        """Return the size (h_l, w_l) of each tap's map for an image of `height` x `width` pixels."""
        layers = self.tapped.map_sizes(height, width)
        return [*layers, *(context.size(layers[self.tapped.deepest]) for context in self.contexts)]

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
        fine_tuning.synchronize_batch_norm(self.tapped, self._frozen, self.trainable)

    def __deepcopy__(self, memo: dict[int, Any]) -> "Backbone":
        """Copy the backbone, and keep its mode (training or evaluation).

        By itself, deepcopy would put the GraphModule in the copy into training mode.
        """
        twin = type(self).__new__(type(self))
        memo[id(self)] = twin
        twin.__dict__ = copy.deepcopy(self.__dict__, memo)
        return twin.train(self.training)

    def fingerprint(self) -> dict[str, object]:
        """Return all that determines the backbone's maps, as JSON-compatible values.

        This is the network's name, the taps, the mean and standard deviation, and a hash of the weights and buffers.
        """
        return {
            "network": self.network,
            "taps": [*(list(modules) for modules in self.tap_modules), *([context.name] for context in self.contexts)],
            "weights": hash_weights(self.body),
            "mean": [round(value, 6) for value in self.get_buffer("mean").flatten().tolist()],
            "std": [round(value, 6) for value in self.get_buffer("std").flatten().tolist()],
            **({"norm": True} if self.norm else {}),
            **({"scales": scales} if (scales := [float(scale) for scale in self.tapped.scales]) != [1] else {}),
        }

    @property
    def info(self) -> Mapping[str, Any] | None:
        """The properties of the maps as JSON-compatible values, for the argument `info` of another backbone.

        None: no formula gives the sizes of all maps and the centres of their cells, so each backbone must derive them.
        """
        return to_record(self.tapped.network_info)
