"""Networks by name: torchvision's, timm's, and our own."""

import difflib
import inspect
from collections import OrderedDict
from typing import Any

import torch
from torch import nn

from hypercolumns.errors import ArgumentError
from hypercolumns.models.backbones import _timm


def rgb() -> nn.Module:
    """No network at all: its one module, `image`, gives the normalised image. The baseline of per-pixel colour."""
    return nn.Sequential(OrderedDict(image=nn.Identity()))


OWN = {"rgb": rgb}
TIMM = "timm/"  # what the names of timm's networks begin with


def build(name: str) -> nn.Module:
    """The network of that name with random weights, or ArgumentError if there is none."""
    if name in OWN:
        return OWN[name]()
    model = of_timm(name)
    if model is not None:
        return _timm.build(model)
    import torchvision.models

    try:
        make = torchvision.models.get_model_builder(name)
    except ValueError:
        similar = difflib.get_close_matches(name, torchvision.models.list_models(), n=3)
        guess = f" did you mean {', '.join(similar)}?" if similar else ""
        raise ArgumentError(
            f"network={name} is not known;{guess} it must be {', '.join(OWN)} or one of torchvision's models, "
            f"which torchvision.models.list_models() lists, or {TIMM}<model> for one of timm's"
        ) from None
    none = [part for part in ("weights", "weights_backbone") if part in inspect.signature(make).parameters]
    network: nn.Module = make(**dict.fromkeys(none))  # else it would download those of its backbone
    return network


def build_blank(name: str) -> nn.Module:
    """The network of that name to load weights into: without values (on the meta device), if weights bring them all."""
    try:
        with torch.device("meta"):
            blank = build(name)
    except NotImplementedError:  # its code computes sizes by tensors
        return build(name)
    brought = blank.state_dict()
    return blank if all(buffer in brought for buffer, _ in blank.named_buffers()) else build(name)


def of_timm(name: str) -> str | None:
    """The name in timm of a network, or None if it is not timm's."""
    return name.removeprefix(TIMM) if name.startswith(TIMM) else None


def libraries(name: str) -> list[str]:
    """The packages whose versions say what a network of that name is."""
    return ["torch", "torchvision"] + (["timm"] if of_timm(name) is not None else [])


def default_taps(name: str) -> list[str]:
    """The modules that are tapped where none are named: those that timm lists; else ArgumentError."""
    model = of_timm(name)
    if model is None:
        raise ArgumentError(f"taps={None} can't be: only timm lists maps of its networks; name modules of {name}")
    return _timm.default_taps(model)


def default_normalisation(name: str) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """The mean and std of a network's input where none are given: of timm's weights; else ArgumentError."""
    model = of_timm(name)
    if model is None:
        raise ArgumentError(f"mean and std of {name} can't be null: give one number for each channel")
    return _timm.normalisation(model)


def tracing(name: str) -> dict[str, Any]:
    """What torch.fx must know to trace a network, as arguments of torchvision's tracer."""
    return {} if of_timm(name) is None else _timm.tracing()


def unusable(name: str, why: str, error: Exception | None = None) -> ArgumentError:
    """The error for a network that can't be a backbone."""
    reason = "" if error is None else f" ({str(error).partition(chr(10))[0] or type(error).__name__})"
    return ArgumentError(
        f"network={name} can't be a backbone: {why}{reason}; choose a convolutional network that takes images of any "
        f"size, such as resnet18, efficientnet_b0 or convnext_tiny"
    )
