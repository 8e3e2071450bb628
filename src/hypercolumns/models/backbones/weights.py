"""Load the weights of a backbone: weights of torchvision or timm by name, or weights from a file or folder."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from hypercolumns.errors import ArgumentError, HypercolumnsError
from hypercolumns.io.decoding import RGB
from hypercolumns.io.files import expand_path
from hypercolumns.models.backbones import _timm, networks
from hypercolumns.models.backbones._downloads import reason
from hypercolumns.models.backbones._normalisation import choose_values
from hypercolumns.models.backbones._torchvision_vit import TorchvisionTransformer
from hypercolumns.models.backbones._weight_conversion import advise, convert, depths, unusual
from hypercolumns.models.backbones._weight_files import MAX_SHOWN, Normalisation, read_state, report, some
from hypercolumns.models.backbones._weight_folders import folder_of, is_weights_folder, read_folder
from hypercolumns.models.backbones.tapped_network import TappedNetwork
from hypercolumns.models.backbones.widening import widen_weights

__all__ = ["PRETRAINED", "assign_weights", "is_weights_folder", "is_weights_name", "load_backbone", "load_weights"]

PRETRAINED = "pretrained"
LAST_NORMS = ("norm.", "encoder.ln.")  # of timm's networks and of torchvision's transformers, see the setting cnn.norm


def load_backbone(
    network: TappedNetwork,
    weights: str | Mapping[str, Tensor] | None,
    mean: Sequence[float] | None,
    std: Sequence[float] | None,
) -> tuple[Sequence[float], Sequence[float]]:
    """Load the weights of a network unless they are None, and choose the normalisation of its images.

    Args:
        network: the network up to its last tap.
        weights: see `Backbone`.
        mean: see `Backbone`.
        std: see `Backbone`.

    Returns:
        The mean and the standard deviation to use: those that belong to the weights or to the network, or else the
        arguments.

    Raises:
        ArgumentError: if the weights can't be loaded into the network.
    """
    if isinstance(weights, str):
        state, normalisation = load_weights(network.name, weights, network.channels)
        _fit_positions(network.body, state, f"weights={weights}")
        assign_weights(network.body, state, f"weights={weights}", network.name)
        if normalisation is not None:
            own_mean, own_std = normalisation
            mean = choose_values(mean, own_mean, network.channels)
            std = choose_values(std, own_std, network.channels)
    elif weights is not None:
        _fit_positions(network.body, weights, None)
        assign_weights(network.body, weights, "weights (a state dict)")
    if mean is None or std is None:
        return networks.default_normalisation(network.name)
    return mean, std


def _fit_positions(body: nn.Module, state: Mapping[str, Tensor], source: str | None) -> None:
    """Let a vision transformer of torchvision take position embeddings for images of another size.

    timm's function does the same for its own networks, see `_timm.convert`.

    Args:
        body: the network up to its last tap.
        state: the weights, which the caller loads afterwards.
        source: how the message names the weights; None: no message.
    """
    side = body.fit_positions(state) if isinstance(body, TorchvisionTransformer) else None
    if side is not None and source is not None:
        report(f"{source} has position embeddings for {side}x{side} patches; they are interpolated for other images")


def load_weights(network: str, weights: str, channels: int = RGB) -> tuple[Mapping[str, Tensor], Normalisation | None]:
    """Load weights of a network by name or from a file.

    Args:
        network: the name of the network, see `Backbone`.
        weights: the name of weights of torchvision (`IMAGENET1K_V1`), `pretrained` for timm's weights of a network of
            timm, the path of a file that holds a state dict, saved by torch.save or as safetensors, or the path of a
            folder of the Hugging Face Hub. torchvision and timm download weights that are not in their caches.
        channels: the number of channels of the images. timm adapts its own weights to it; other weights stay as they
            are, see `assign_weights`.

    Returns:
        The state dict of the whole network, and the mean and the standard deviation that its images need. For weights
        from a file or folder that does not state them, the second value is None.

    Raises:
        ArgumentError: if `weights` is neither a known name nor a readable file or folder, if the file is of another
            network, or if the download fails.
    """
    model = networks.of_timm(network)
    if model is not None and weights == PRETRAINED:
        return _timm.pretrained(model, channels), _timm.normalisation(model)
    named = _of_torchvision(network)
    if weights in named:
        try:
            state = named[weights].get_state_dict(progress=True, check_hash=True)
        except (OSError, RuntimeError) as error:
            raise ArgumentError(
                f"weights={weights} could not be downloaded ({reason(error)}); bring {named[weights].url} from a "
                f"machine with internet, and pass the path of the file in place of {weights}, or null for random "
                f"weights"
            ) from error
        preprocessing = named[weights].transforms()
        return state, (tuple(preprocessing.mean), tuple(preprocessing.std))
    try:
        path = expand_path("weights", weights)
    except HypercolumnsError as error:
        raise ArgumentError(str(error)) from None
    if not path.exists():
        choices = ["the path of a file or folder", *(named if model is None else [PRETRAINED])]
        raise ArgumentError(
            f"weights={weights} is neither a file or folder nor a name of weights for {network}; pass "
            f"{', '.join(choices)}, or null for random weights"
        )
    return _load_path(path, network)


def _load_path(path: Path, network: str) -> tuple[Mapping[str, Tensor], Normalisation | None]:
    """Load the weights of a network from a file or folder; see `load_weights`."""
    reference = networks.build_shapes(network)
    has_config = folder_of(path) is not None
    state, normalisation = read_folder(path, network, reference) if has_config else read_state(path)
    return convert(network, state, reference, f"weights={path}"), normalisation


def is_weights_name(network: str, weights: str) -> bool:
    """Return whether torchvision or timm has weights of this name for a network."""
    return weights == PRETRAINED if networks.of_timm(network) is not None else weights in _of_torchvision(network)


def _of_torchvision(network: str) -> Mapping[str, Any]:
    """Return the weights that torchvision has for a network: a mapping from names to `WeightsEnum` members."""
    if network in networks.OWN or networks.of_timm(network) is not None:
        return {}
    import torchvision.models

    try:
        return torchvision.models.get_model_weights(network).__members__
    except ValueError:  # an unknown network, for which `networks.build` raises an error
        return {}


def damaged_tensors(tensors: Mapping[str, Tensor]) -> list[str]:
    """Return the names of the tensors that hold NaN or infinite values.

    A tensor that is a single number may be infinite: some networks hold the bounds of a clamp so.
    """
    return [name for name, each in tensors.items() if (each.isnan() if each.ndim == 0 else ~each.isfinite()).any()]


def assign_weights(module: nn.Module, state: Mapping[str, Tensor], source: str, network: str | None = None) -> None:
    """Load all parameters and buffers of a module from a state dict.

    Other tensors in the state dict are ignored, because they can belong to layers after the last tap.

    Args:
        module: the network up to its last tap.
        state: the state dict of the whole network, or of the network's module `features` alone. If its first
            convolution is for RGB, but that of `module` is not, its filters are adapted, see `widening`.
        source: how error messages name the weights, for example "weights=IMAGENET1K_V1".
        network: the name of the network, with which an error can guess the network of the weights; None: no guess.

    Raises:
        ArgumentError: if `state` lacks a tensor of the module, or has a tensor with another shape or with values that
            are not finite. A counter `num_batches_tracked` may be missing; it is set to 0.
    """
    wanted, given = module.state_dict(), state
    if not any(key in state for key in wanted):
        state = {f"features.{key}": value for key, value in state.items()}
    state = widen_weights(module, state)
    missing = [key for key in wanted if key not in state and not key.endswith("num_batches_tracked")]
    reshaped = [
        f"{key} is {tuple(state[key].shape)}, expected {tuple(tensor.shape)}"
        for key, tensor in wanted.items()
        if key in state and state[key].shape != tensor.shape
    ]
    if missing and not reshaped and all(key.startswith(LAST_NORMS) for key in missing):
        raise ArgumentError(
            f"{source} lacks the network's last normalisation layer ({some(missing)}), as a model that was trained "
            f"with norm=false does; set cnn.norm=false, as in that model, or pass weights with this layer"
        )
    if missing or reshaped:
        # If tensors are missing, the names of unknown tensors help. Unknown tensors alone are not an error.
        unknown = [key for key in given if key not in wanted]
        ends = ["pass weights of the same network"]
        if network is not None:
            reference = networks.build_shapes(network)
            unknown = unusual(unknown, reference)
            ends = [*depths(given, reference), advise(network, given)]
        problems = [
            f"{len(missing)} of {len(wanted)} tensors are missing, such as {some(missing)}" if missing else "",
            f"the weights have {some(unknown)} instead" if missing and unknown else "",
            "; ".join(reshaped[:MAX_SHOWN]) + (" and others" if len(reshaped) > MAX_SHOWN else ""),
        ]
        raise ArgumentError(
            f"{source} can't be loaded into this network: {'; '.join([*filter(None, problems), *ends])}"
        )
    if damaged := damaged_tensors({key: state[key] for key in wanted if key in state}):
        raise ArgumentError(f"{source} has values that are not finite, in {some(damaged)}; pass other weights")
    counters = {key: torch.zeros_like(wanted[key], device="cpu") for key in wanted if key not in state}
    module.load_state_dict(
        counters | {key: state[key].to(wanted[key].dtype) for key in wanted if key in state}, assign=True
    )
