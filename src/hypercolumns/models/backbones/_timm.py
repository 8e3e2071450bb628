"""Networks of timm, an optional package: found by name in it, tapped where it says their maps are."""

import difflib
import importlib
from collections.abc import Mapping
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from hypercolumns.errors import ArgumentError, HypercolumnsError


def build(model: str) -> nn.Module:
    """The whole model of that name with random weights, or ArgumentError if timm has none."""
    network: nn.Module = _create(model)
    return network


def default_taps(model: str) -> list[str]:
    """The modules whose outputs timm lists as the maps of a model (`features_only`); ArgumentError if none."""
    try:
        with torch.device("meta"):
            taps: list[str] = _create(model, features_only=True).feature_info.module_name()
            network = _create(model)
        for tap in taps:
            network.get_submodule(tap)
    except HypercolumnsError:
        raise
    except Exception as error:  # whatever timm raises about a model that has no maps
        raise ArgumentError(
            f"network=timm/{model}: timm lists no maps of modules of it ({_reason(error)}); name modules as taps, or "
            f"choose another model"
        ) from error
    return taps


def tracing() -> dict[str, Any]:
    """What torch.fx must not look into, by timm's own account, as arguments of torchvision's tracer."""
    _timm()
    layers = importlib.import_module("timm.layers")
    return {"leaf_modules": layers.get_notrace_modules(), "autowrap_functions": layers.get_notrace_functions()}


def pretrained(model: str) -> Mapping[str, Tensor]:
    """The state dict of a model's pretrained weights, downloaded by timm unless it has them."""
    try:
        state: Mapping[str, Tensor] = _create(model, pretrained=True).state_dict()
    except Exception as error:  # whatever timm raises, or what it downloads with
        raise ArgumentError(
            f"weights=pretrained of timm's {model} could not be downloaded ({_reason(error)}); pass the path of a "
            f"file, or null for random weights"
        ) from error
    return state


def normalisation(model: str) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """The mean and std of the images that a model's pretrained weights take."""
    _check(model)
    config = _timm().get_pretrained_cfg(model)
    return tuple(config.mean), tuple(config.std)


def _reason(error: Exception) -> str:
    words = " ".join(str(error).split()) or type(error).__name__
    return words if len(words) <= 200 else f"{words[:200]}..."


def _create(model: str, **settings: Any) -> Any:
    _check(model)
    return _timm().create_model(model, **settings)


def _check(model: str) -> None:
    """Raise ArgumentError unless timm has the model, and weights of its tag (what follows a full stop)."""
    timm = _timm()
    if not timm.is_model(model):  # the names of files and repositories are not
        names = timm.list_models()
        similar = difflib.get_close_matches(model.partition(".")[0], names, n=3)
        raise ArgumentError(
            f"network=timm/{model} is not one of timm's {len(names)} models; "
            + (f"did you mean {' or '.join(similar)}?" if similar else "timm.list_models() lists them")
        )
    architecture, _, tag = model.partition(".")
    tags = [name.partition(".")[2] for name in timm.list_models(f"{architecture}.*", pretrained=True)]
    if tag and tag not in tags:
        raise ArgumentError(
            f"network=timm/{model}: timm's {architecture} has no weights {tag}; choose {architecture}, or one of "
            f"{', '.join(f'{architecture}.{one}' for one in tags) or 'none'}"
        )


def _timm() -> ModuleType:
    try:
        return importlib.import_module("timm")
    except ImportError as error:
        raise HypercolumnsError(
            "networks of timm need timm, which is not installed; in the project's folder, uv sync --extra timm, "
            "or pip install '.[timm]'"
        ) from error
