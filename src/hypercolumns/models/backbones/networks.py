"""Build networks by name: networks of torchvision, of timm, and of this project."""

import difflib
import inspect
from collections import OrderedDict
from collections.abc import Callable
from importlib.metadata import version
from importlib.util import find_spec
from typing import Any

from torch import nn

from hypercolumns.errors import ArgumentError
from hypercolumns.io.decoding import RGB
from hypercolumns.models.backbones import _timm
from hypercolumns.models.backbones._blank import build_without_values
from hypercolumns.models.backbones._torchvision_vit import TorchvisionTransformer
from hypercolumns.runtime.imports import without_collections


def rgb() -> nn.Module:
    """Build the per-pixel colour baseline: a network whose module `image` returns the normalised image unchanged."""
    return nn.Sequential(OrderedDict(image=nn.Identity()))


OWN = {"rgb": rgb}  # the constructors of this project's networks
TIMM = "timm/"  # prefix of the names of timm's networks
EXAMPLES = f"resnet18, convnext_tiny or {TIMM}vit_small_patch14_dinov2"  # that messages recommend


def build(name: str, channels: int = RGB, drop_path: float | None = None) -> nn.Module:
    """Build a whole network by its name, with random weights.

    Args:
        name: the name, see `Backbone`.
        channels: the number of channels of the images. Networks of torchvision and of this project do not depend on it
            here; `widening.widen_network` adapts them.
        drop_path: see `Backbone`.

    Returns:
        The network.

    Raises:
        ArgumentError: if the name is unknown, or the network does not take `drop_path`.
    """
    if drop_path and of_timm(name) is None:
        raise ArgumentError(f"drop_path={drop_path} is for networks of timm, and {name} is none; set drop_path=null")
    if name in OWN:
        return OWN[name]()
    model = of_timm(name)
    if model is not None:
        return _timm.build(model, channels, drop_path)
    with without_collections():
        import torchvision.models
        from torchvision.models.vision_transformer import VisionTransformer

    try:
        make = torchvision.models.get_model_builder(name)
    except ValueError:
        similar = difflib.get_close_matches(name, torchvision.models.list_models(), n=3)
        guess = f" did you mean {', '.join(similar)}?" if similar else ""
        raise ArgumentError(
            f"network={name} is not known;{guess} choose {', '.join(OWN)}, a name from "
            f"torchvision.models.list_models(), or {TIMM}<model> with a name from timm.list_models()"
        ) from None
    none = [part for part in ("weights", "weights_backbone") if part in inspect.signature(make).parameters]
    network: nn.Module = make(**dict.fromkeys(none))  # some constructors download weights by default
    return TorchvisionTransformer(network) if isinstance(network, VisionTransformer) else network


def build_blank(name: str, channels: int = RGB, drop_path: float | None = None) -> nn.Module:
    """Build a whole network without random weights, for weights that are loaded afterwards.

    Most parameters are on the meta device, where tensors have no values. In two cases, the network is built with random
    weights instead: its constructor needs the values of such tensors, or such a tensor is a buffer that is not in the
    state dict, and would never be loaded.

    Args:
        name: see `build`.
        channels: see `build`.
        drop_path: see `build`.

    Returns:
        The network.
    """
    blank = build_shapes(name, channels, drop_path)
    state = blank.state_dict()
    return (
        blank
        if all(buffer in state or not tensor.is_meta for buffer, tensor in blank.named_buffers())
        else build(name, channels, drop_path)
    )


def build_shapes(name: str, channels: int = RGB, drop_path: float | None = None) -> nn.Module:
    """Build a whole network whose tensors have shapes, but on the meta device, where possible, no values.

    Args:
        name: see `build`.
        channels: see `build`.
        drop_path: see `build`.

    Returns:
        The network.
    """
    return build_without_values(lambda: build(name, channels, drop_path))


def of_timm(name: str) -> str | None:
    """Return timm's name of a network, without the prefix `timm/`; None if the network is not one of timm."""
    return name.removeprefix(TIMM) if name.startswith(TIMM) else None


def list_names(name: str) -> list[str]:
    """Return the names of all networks of the library that a network is from, without the prefix of timm's networks."""
    if of_timm(name) is not None:
        return _timm.list_names()
    import torchvision.models

    return [] if name in OWN else torchvision.models.list_models(module=torchvision.models)


def find_builder(name: str) -> Callable[..., nn.Module] | None:
    """Return the function of torchvision or timm that builds a network; None if there is none."""
    model = of_timm(name)
    if model is not None:
        return _timm.find_builder(model)
    if name in OWN:
        return None
    import torchvision.models

    try:
        builder: Callable[..., nn.Module] = torchvision.models.get_model_builder(name)
    except ValueError:
        return None
    return builder


def libraries(name: str) -> list[str]:
    """Return the names of the packages whose versions determine the architecture of a network."""
    return ["torch", "torchvision"] + (["timm"] if of_timm(name) is not None else [])


def layer_versions(name: str) -> dict[str, str]:
    """Return the versions, such as 0.29, of the installed libraries that define the layers of a network."""
    defining = [library for library in libraries(name) if library != "torch" and find_spec(library) is not None]
    return {library: ".".join(version(library).split(".")[:2]) for library in defining}


def default_taps(name: str) -> list[str]:
    """Return the paths of the modules whose outputs timm lists as the feature maps of a network.

    Raises:
        ArgumentError: if the network is not one of timm, or timm lists no modules for the network.
    """
    model = of_timm(name)
    if model is None:
        raise ArgumentError(
            f"taps=None is allowed only for networks of timm, because timm lists their feature maps; list modules of "
            f"{name} in taps"
        )
    return _timm.default_taps(model)


def usual_size(name: str) -> tuple[int, int] | None:
    """Return the (height, width) in pixels that a network of timm is made for; None for other networks."""
    model = of_timm(name)
    return None if model is None else _timm.usual_size(model)


def default_normalisation(name: str) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return the mean and the standard deviation by which images are normalised for timm's weights of a network.

    Raises:
        ArgumentError: if the network is not one of timm.
    """
    model = of_timm(name)
    if model is None:
        raise ArgumentError(
            f"mean and std can be null only for networks of timm; give both as [red,green,blue] for {name}"
        )
    return _timm.normalisation(model)


def tracing(name: str) -> dict[str, Any]:
    """Return the keyword arguments that torchvision's tracer needs for a network."""
    return {} if of_timm(name) is None else _timm.tracing()


def unusable(name: str, why: str) -> ArgumentError:
    """Return the error for a network that cannot be a backbone.

    The message does not quote errors of torch or of the network's code. They tell of tensors inside the network, which
    a user can't change; they are the cause (`__cause__`) of the error.

    Args:
        name: the name of the network.
        why: what is wrong, as a clause for the middle of the message, for example "it returns no maps".

    Returns:
        The error, for the caller to raise.
    """
    return ArgumentError(f"network={name} can't be a backbone: {why}; choose another network, such as {EXAMPLES}")
