"""Networks by name: those of torchvision, of timm, and our own."""

import difflib
import inspect
from collections import OrderedDict
from typing import Any

import torch
from torch import nn

from hypercolumns.errors import ArgumentError
from hypercolumns.models.backbones import _timm


def rgb() -> nn.Module:
    """Build the identity: its module `image` returns the normalised image. It is the per-pixel colour baseline."""
    return nn.Sequential(OrderedDict(image=nn.Identity()))


OWN = {"rgb": rgb}
TIMM = "timm/"  # prefix of the names of timm's networks


def build(name: str) -> nn.Module:
    """Build a network by name, with random weights; raise ArgumentError if the name is unknown."""
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
    network: nn.Module = make(**dict.fromkeys(none))  # some builders download weights for their backbone otherwise
    return network


def build_blank(name: str) -> nn.Module:
    """Build a network to load weights into: on the meta device if its state dict holds all its tensors."""
    try:
        with torch.device("meta"):
            blank = build(name)
    except NotImplementedError:  # the network's code computes sizes with tensors, which need values
        return build(name)
    state = blank.state_dict()
    return blank if all(buffer in state for buffer, _ in blank.named_buffers()) else build(name)


def of_timm(name: str) -> str | None:
    """Return the name of a network in timm, or None if it is not a network of timm."""
    return name.removeprefix(TIMM) if name.startswith(TIMM) else None


def libraries(name: str) -> list[str]:
    """Return the packages whose versions determine the architecture of a network."""
    return ["torch", "torchvision"] + (["timm"] if of_timm(name) is not None else [])


def default_taps(name: str) -> list[str]:
    """Return the modules that timm lists as feature maps; raise ArgumentError for networks of other libraries."""
    model = of_timm(name)
    if model is None:
        raise ArgumentError(
            f"taps=None is for networks of timm, which lists their feature maps; name modules of {name}"
        )
    return _timm.default_taps(model)


def default_normalisation(name: str) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return the mean and std for timm's pretrained weights; raise ArgumentError for networks of other libraries."""
    model = of_timm(name)
    if model is None:
        raise ArgumentError(f"mean and std of {name} can't be null: give one number for each channel")
    return _timm.normalisation(model)


def tracing(name: str) -> dict[str, Any]:
    """Return the arguments that torchvision's tracer needs for a network."""
    return {} if of_timm(name) is None else _timm.tracing()


def unusable(name: str, why: str, error: Exception | None = None) -> ArgumentError:
    """Return the error for a network that cannot be a backbone.

    Args:
        name: of the network.
        why: what is wrong, as a clause.
        error: the cause; its first line is added to the message.

    Returns:
        The error, to be raised.
    """
    reason = "" if error is None else f" ({str(error).partition(chr(10))[0] or type(error).__name__})"
    return ArgumentError(
        f"network={name} can't be a backbone: {why}{reason}; choose a convolutional network that takes images of any "
        f"size, such as resnet18, efficientnet_b0 or convnext_tiny"
    )
