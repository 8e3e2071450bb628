"""Weights of a backbone: torchvision's by name, timm's, or a file."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from hypercolumns.errors import ArgumentError, HypercolumnsError, summarize_error
from hypercolumns.io import checkpoints
from hypercolumns.io.files import expand_path
from hypercolumns.models.backbones import _timm, networks

PRETRAINED = "pretrained"
MAX_SHOWN = 3  # names of tensors in a message
Normalisation = tuple[tuple[float, ...], tuple[float, ...]]


def load(network: str, weights: str) -> tuple[Mapping[str, Tensor], Normalisation | None]:
    """The state dict that `weights` means for a network, and the input normalisation if the weights say it.

    `weights` is the name of torchvision weights (`IMAGENET1K_V1`) or, for timm's networks, `pretrained`, which these
    libraries download, or the path of a file: a state dict saved by torch or as safetensors. Raises ArgumentError
    where it is none of them, or can't be had.
    """
    model = networks.of_timm(network)
    if model is not None and weights == PRETRAINED:
        return _timm.pretrained(model), _timm.normalisation(model)
    named = {} if network in networks.OWN or model is not None else _of_torchvision(network)
    if weights in named:
        try:
            state = named[weights].get_state_dict(progress=True, check_hash=True)
        except (OSError, RuntimeError) as error:
            raise ArgumentError(
                f"weights={weights} could not be downloaded ({error}); pass the path of a file, or null for "
                f"random weights"
            ) from error
        preprocessing = named[weights].transforms()
        return state, (tuple(preprocessing.mean), tuple(preprocessing.std))
    try:
        path = expand_path("weights", weights)
    except HypercolumnsError as error:
        raise ArgumentError(str(error)) from None
    if not path.is_file():
        known = ", ".join(named) or "it has none"
        known = (
            f"one of torchvision's weights for {network} ({known})" if model is None else f"{PRETRAINED}, timm's own"
        )
        raise ArgumentError(f"weights={weights} is neither a file nor {known}")
    return _load_file(path), None


def _of_torchvision(network: str) -> Mapping[str, Any]:
    """The weights of a network of torchvision, by name."""
    import torchvision.models

    return torchvision.models.get_model_weights(network).__members__


def _load_file(path: Path) -> Mapping[str, Tensor]:
    expected = "expected a state dict saved by torch.save or as safetensors"
    try:
        state = safetensors.torch.load_file(path) if path.suffix == ".safetensors" else checkpoints.load_plain(path)
    except (OSError, SafetensorError, ValueError) as error:
        raise ArgumentError(f"weights={path} can't be read ({summarize_error(error)}); {expected}") from error
    if not isinstance(state, Mapping):
        raise ArgumentError(f"weights={path} holds a {type(state).__name__}; {expected}")
    others = [str(name) for name, value in state.items() if not (isinstance(name, str) and _is_plain(value))]
    if others or not state:
        there = f"things that are no plain tensors with names, such as {_some(others)}" if others else "nothing"
        raise ArgumentError(f"weights={path} holds {there}; {expected}")
    return state


def _is_plain(value: object) -> bool:
    """Whether it is a tensor of numbers, all of which are there."""
    if not isinstance(value, Tensor) or value.layout != torch.strided or value.device.type != "cpu":
        return False
    return not (value.is_quantized or value.is_complex())


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:MAX_SHOWN]) + (" and others" if len(names) > MAX_SHOWN else "")


def assign(module: nn.Module, state: Mapping[str, Tensor], source: str) -> None:
    """Make the part of `state` that `module` has its own; a dict of a full network or of its `features` alone will do.

    Raises ArgumentError, naming keys, if anything that the module has is missing or of another shape.
    """
    wanted, given = module.state_dict(), state
    if not any(key in state for key in wanted):
        state = {f"features.{key}": value for key, value in state.items()}
    missing = [key for key in wanted if key not in state and not key.endswith("num_batches_tracked")]
    reshaped = [
        f"{key} is {tuple(state[key].shape)}, expected {tuple(tensor.shape)}"
        for key, tensor in wanted.items()
        if key in state and state[key].shape != tensor.shape
    ]
    if missing or reshaped:
        unknown = [key for key in given if key not in wanted]  # which in itself is no fault: layers after the last tap
        problems = [
            f"{len(missing)} of {len(wanted)} tensors are missing, such as {_some(missing)}" if missing else "",
            f"it has {_some(unknown)} instead" if missing and unknown else "",
            "; ".join(reshaped[:MAX_SHOWN]) + (" and others" if len(reshaped) > MAX_SHOWN else ""),
        ]
        raise ArgumentError(
            f"{source} does not fit this network: {'; '.join(filter(None, problems))}; pass weights of the same network"
        )
    damaged = [key for key in wanted if key in state and not state[key].isfinite().all()]
    if damaged:
        raise ArgumentError(f"{source} has numbers that are not finite, in {_some(damaged)}; pass another file")
    counters = {key: torch.zeros_like(wanted[key], device="cpu") for key in wanted if key not in state}
    module.load_state_dict(
        counters | {key: state[key].to(wanted[key].dtype) for key in wanted if key in state}, assign=True
    )
