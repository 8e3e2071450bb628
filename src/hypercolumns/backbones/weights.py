"""Weights of a backbone: torchvision's by name, timm's, or a file."""

from collections.abc import Mapping
from pathlib import Path

import safetensors.torch
import torch
import torchvision.models
from safetensors import SafetensorError
from torch import Tensor, nn

from hypercolumns.backbones import from_timm, networks
from hypercolumns.errors import HypercolumnsError

PRETRAINED = "pretrained"
Normalisation = tuple[tuple[float, ...], tuple[float, ...]]


def load(network: str, weights: str) -> tuple[Mapping[str, Tensor], Normalisation | None]:
    """The state dict that `weights` means for a network, and the input normalisation if the weights say it.

    `weights` is the name of torchvision weights (`IMAGENET1K_V1`) or, for timm's networks, `pretrained`, which these
    libraries download, or the path of a file: a state dict saved by torch or as safetensors. Raises HypercolumnsError
    where it is none of them, or can't be had.
    """
    model = networks.of_timm(network)
    if model is not None and weights == PRETRAINED:
        return from_timm.pretrained(model), from_timm.normalisation(model)
    has_none = network in networks.OWN or model is not None
    named = {} if has_none else torchvision.models.get_model_weights(network).__members__
    if weights in named:
        try:
            state = named[weights].get_state_dict(progress=True, check_hash=True)
        except (OSError, RuntimeError) as error:
            raise HypercolumnsError(
                f"cnn.weights={weights} could not be downloaded ({error}); pass a file, cnn.weights=<path>, "
                f"or random weights, cnn.weights=null"
            ) from error
        preprocessing = named[weights].transforms()
        return state, (tuple(preprocessing.mean), tuple(preprocessing.std))
    path = Path(weights).expanduser()
    if not path.is_file():
        known = ", ".join(named) or "it has none"
        known = (
            f"one of torchvision's weights for {network} ({known})" if model is None else f"{PRETRAINED}, timm's own"
        )
        raise HypercolumnsError(f"cnn.weights={weights} is neither a file nor {known}")
    return _read(path), None


def _read(path: Path) -> Mapping[str, Tensor]:
    expected = "expected a state dict saved by torch.save or as safetensors"
    try:
        if path.suffix == ".safetensors":
            return safetensors.torch.load_file(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, SafetensorError) as error:
        raise HypercolumnsError(f"cnn.weights={path} can't be read ({error}); {expected}") from error
    except Exception as error:  # torch.load raises whatever the unpickler met
        reason = str(error).partition("\n")[0]
        raise HypercolumnsError(f"cnn.weights={path} can't be read ({reason}); {expected}") from error
    if not isinstance(state, Mapping) or not all(isinstance(value, Tensor) for value in state.values()):
        raise HypercolumnsError(f"cnn.weights={path} holds something else; {expected}")
    return state


def assign(module: nn.Module, state: Mapping[str, Tensor], source: str) -> None:
    """Make the part of `state` that `module` has its own; a dict of a full network or of its `features` alone will do.

    Raises HypercolumnsError, naming keys, if anything that the module has is missing or of another shape.
    """
    wanted = module.state_dict()
    if not any(key in state for key in wanted):
        state = {f"features.{key}": value for key, value in state.items()}
    missing = [key for key in wanted if key not in state and not key.endswith("num_batches_tracked")]
    if missing:
        raise HypercolumnsError(
            f"{source} does not fit this network: {len(missing)} of {len(wanted)} tensors are missing, "
            f"such as {', '.join(missing[:3])}; pass weights of the same network"
        )
    for key, tensor in wanted.items():
        if key in state and state[key].shape != tensor.shape:
            raise HypercolumnsError(
                f"{source} does not fit this network: {key} is {tuple(state[key].shape)}, "
                f"expected {tuple(tensor.shape)}; pass weights of the same network"
            )
    counters = {key: torch.zeros_like(wanted[key], device="cpu") for key in wanted if key not in state}
    module.load_state_dict(
        counters | {key: state[key].to(wanted[key].dtype) for key in wanted if key in state}, assign=True
    )
