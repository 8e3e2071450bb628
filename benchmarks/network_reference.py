"""timm's own feature maps of a network, which `network_checks.py` compares the maps of this project with.

Nothing here depends on how this project derives the properties of a network.
"""

import importlib
import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import timm
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from hypercolumns.models.backbones import IMAGENET_MEAN, IMAGENET_STD

POSITIONS = ("pos", "rel", "token", "query", "latent")  # parts of the names of parameters that are no filters
State = Mapping[str, Tensor]


def drawn_state(name: str) -> dict[str, Tensor]:
    """Draw weights of a whole network such that no layer hides an error, and return its state dict.

    Scales and biases are uniform in [0.5, 1.5], also layer scales and gains that begin near 0. The statistics of
    BatchNorm layers are those of random images.
    """
    torch.manual_seed(0)
    network = timm.create_model(name).eval()
    with torch.no_grad():
        for path, parameter in network.named_parameters():
            narrow = math.sqrt(parameter.shape[0] / parameter.numel()) if parameter.ndim else 1.0
            if parameter.numel() == max(parameter.shape, default=1):
                parameter.uniform_(0.5, 1.5)
            elif any(word in path for word in POSITIONS):
                parameter.normal_(0, 0.5)
            elif parameter.std() < 0.3 * narrow:
                parameter.normal_(0, narrow)
        _calibrate(network)
    return {key: tensor.clone() for key, tensor in network.state_dict().items()}


def _calibrate(network: nn.Module) -> None:
    """Give BatchNorm layers the statistics of random images, or draw them if the network does not run as it is."""
    layers = [layer for layer in network.modules() if isinstance(layer, _BatchNorm) and layer.track_running_stats]
    if not layers:
        return
    config: Any = network.pretrained_cfg
    try:
        momenta = [layer.momentum for layer in layers]
        for layer in layers:
            layer.train()
            layer.momentum = 1.0
        network(torch.randn(2, *config["input_size"]))
        for layer, momentum in zip(layers, momenta, strict=True):
            layer.eval()
            layer.momentum = momentum
    except Exception:  # networks raise many kinds of errors
        for layer in layers:
            layer.eval().running_mean.normal_(0, 0.1)  # type: ignore[union-attr]
            layer.running_var.uniform_(0.5, 1.5)  # type: ignore[union-attr]
    for layer in layers:
        variance = layer.running_var
        assert variance is not None
        variance.clamp_(min=0.05 * float(variance.mean()))  # a channel that is constant would divide by 0


class Reference:
    """The feature maps of a network as timm computes them.

    Args:
        name: timm's name of the network.
        state: the state dict of the whole network.
        taps: the modules of the maps, as timm's `feature_info` names them.
    """

    def __init__(self, name: str, state: State, taps: Sequence[str]) -> None:
        self.name, self.state, self.taps = name, state, taps
        self._networks: dict[str, nn.Module | None] = {}
        self.failures: list[str] = []

    def maps(self, images: Tensor) -> list[Tensor] | None:
        """Compute the map (B, C, h, w) of each tap.

        Args:
            images: (B, 3, H, W) in [0, 1], of a size that the network takes.

        Returns:
            One map for each tap; None if timm gives no maps of these names for images of this size.
        """
        mean, std = (torch.tensor(values).view(1, 3, 1, 1).to(images) for values in (IMAGENET_MEAN, IMAGENET_STD))
        self.failures = []
        for options in _options(images.shape[2], images.shape[3]):
            network = self._network(options)
            if network is None:
                continue
            try:
                outputs = network.to(images.dtype)((images - mean) / std)
                return self._chosen(network, outputs)
            except Exception as error:  # networks raise many kinds of errors for sizes that they do not take
                self.failures.append(f"{options}: {_line(error)}")
        return None

    def _network(self, options: Mapping[str, Any]) -> nn.Module | None:
        key = str(options)
        if key not in self._networks:
            try:
                self._networks[key] = self._build(options)
            except Exception as error:  # unknown options, or no features
                self._networks[key] = None
                self.failures.append(f"{options}: {_line(error)}")
        return self._networks[key]

    def _build(self, options: Mapping[str, Any]) -> nn.Module:
        network = timm.create_model(self.name, features_only=True, **options).eval()
        info: Any = network.feature_info
        if not set(self.taps) <= set(_numbered(info.module_name())):
            every = _numbered([entry["module"] for entry in info.info])
            indices = [every.index(tap) for tap in self.taps]
            network = timm.create_model(self.name, features_only=True, out_indices=indices, **options).eval()
        load(network, self.state)
        for layer in network.modules():
            if isinstance(getattr(layer, "inplace", None), bool):
                layer.inplace = False  # type: ignore[assignment] # the next layer would overwrite the map
        return network.requires_grad_(False)

    def _chosen(self, network: Any, outputs: Sequence[Tensor]) -> list[Tensor]:
        names, widths = _numbered(network.feature_info.module_name()), network.feature_info.channels()
        by_name = dict(zip(names, zip(outputs, widths, strict=True), strict=True))
        maps = []
        for tap in self.taps:
            values, channels = by_name[tap]
            last = values.shape[-1] == channels != values.shape[1]  # (B, h, w, C)
            if not last and values.shape[1] != channels:  # ViTamin broadcasts one token over all its positions
                raise ValueError(f"the map of {tap} has {values.shape[1]} channels in place of {channels}")
            maps.append(values.permute(0, 3, 1, 2) if last else values)
        return maps


def _numbered(names: Sequence[str]) -> list[str]:
    """Return names with -2, -3 and so on at the end of repeated ones."""
    return [f"{name}-{count}" if (count := names[: n + 1].count(name)) > 1 else name for n, name in enumerate(names)]


def _options(height: int, width: int) -> Iterator[dict[str, Any]]:
    """Yield keyword arguments of `timm.create_model` that may let a network take images of a size."""
    sizes: list[dict[str, Any]] = [
        {},
        {"dynamic_img_size": True},
        {"img_size": (height, width)},
        {"strict_img_size": False},
        {"img_size": (height, width), "strict_img_size": False},
    ]
    classes: list[dict[str, Any]] = [{}, {"feature_cls": "getter"}]
    for size, features in itertools.product(sizes, classes):
        yield size | features


def load(network: nn.Module, state: State) -> None:
    """Load the state dict of a whole network into one that timm built with `features_only=True`.

    Args:
        network: the network. The names of its tensors may begin with `model.`, or have `_` as the first separator.
        state: the state dict.

    Raises:
        ValueError: if a tensor is missing, or has another shape that timm can't convert.
    """
    inner = getattr(network, "model", network)
    own = network.state_dict()
    found = _by_names(own, state)
    if any(found[key].shape != tensor.shape for key, tensor in own.items() if key in found):
        convert = importlib.import_module(type(inner).__module__).checkpoint_filter_fn
        found = _by_names(own, convert(dict(state), inner))
    missing = [key for key in own if key not in found and not key.endswith("num_batches_tracked")]
    if missing:
        raise ValueError(f"no weights for {missing[:3]}")
    network.load_state_dict(found, strict=False)


def _by_names(own: State, state: State) -> dict[str, Tensor]:
    names: dict[str, Tensor] = {}
    for key, tensor in state.items():
        names |= {key: tensor, key.replace(".", "_", 1): tensor, f"model.{key}": tensor}
    return {key: names[key] for key in own if key in names}


def _line(error: Exception) -> str:
    return f"{type(error).__name__} {str(error).partition(chr(10))[0][:150]}"
