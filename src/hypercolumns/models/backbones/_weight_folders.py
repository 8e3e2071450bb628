"""Read the weights in a folder as the Hugging Face Hub has them: of timm, of transformers, or of OpenCLIP."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from hypercolumns.errors import ArgumentError, HypercolumnsError, summarize_error
from hypercolumns.io.decoding import RGB
from hypercolumns.io.files import read_json
from hypercolumns.models.backbones import networks
from hypercolumns.models.backbones._weight_files import (
    INDEX,
    Normalisation,
    State,
    normalisation_of,
    read_state,
    report,
)

CONFIG, OPEN_CLIP = "config.json", "open_clip_config.json"
FILES = ("model.safetensors", "pytorch_model.bin")
OPEN_CLIP_FILES = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")
# The values of `model_type` in a config of transformers whose names of tensors `_weight_names` knows.
TRANSFORMERS = ("dinov2", "dinov2_with_registers", "dinov3_vit", "siglip", "siglip_vision_model", "vit")
# Arguments of a model in timm's config that do not change the maps of a backbone.
WITHOUT_EFFECT = ("num_classes", "global_pool", "in_chans", "img_size", "drop_rate", "drop_path_rate")
QUICK = "_quickgelu"  # part of the names of timm's networks with the activation quick_gelu
ACTIVATIONS: Mapping[str, Callable[[Tensor], Tensor]] = {
    "gelu": functional.gelu,
    "gelu_pytorch_tanh": lambda x: functional.gelu(x, approximate="tanh"),
    "quick_gelu": lambda x: x * (1.702 * x).sigmoid(),
    "silu": functional.silu,
}


def is_weights_folder(path: Path) -> bool:
    """Return whether a path is a folder of the Hugging Face Hub, perhaps an incomplete one, or its cache's folder."""
    file = _weights_file(path)
    has_weights = file is not None and file.name != FILES[0]  # a run of this project has a model.safetensors, too
    return has_weights or bool(_configs(path)) or (path / "snapshots").is_dir()


def folder_of(path: Path) -> Path | None:
    """Return the folder whose config belongs to a path: the folder itself, or that of a file with a usual name.

    None: the path is a file without a config.
    """
    if path.is_dir():
        return path
    usual = path.name.removesuffix(INDEX) in (*FILES, *OPEN_CLIP_FILES)
    return path.parent if usual and _configs(path.parent) else None


def read_folder(path: Path, network: str, reference: nn.Module) -> tuple[State, Normalisation | None]:
    """Read the weights of a network, and the mean and the standard deviation of its images, from a folder.

    Args:
        path: the folder, from which the preferred file is read, or a file of weights in it, see `folder_of`.
        network: the name of the network, see `Backbone`.
        reference: the whole network, possibly on the meta device.

    Returns:
        The state dict by the names in the file, and the mean and standard deviation; None if no file states them.

    Raises:
        ArgumentError: if the folder has no config or weights, or they are of another network.
    """
    folder, file = (path, _weights_file(path)) if path.is_dir() else (path.parent, path)
    configs = _configs(folder)
    if file is None or not configs:
        snapshots = " (in the cache of the Hugging Face Hub, one of its folders snapshots/<revision>)"
        raise ArgumentError(
            f"weights={folder} is a folder without {'weights' if configs else 'a config'}; expected {CONFIG} with one "
            f"of {', '.join(FILES)}, or {OPEN_CLIP} with one of {', '.join(OPEN_CLIP_FILES)}"
            + (snapshots if (folder / "snapshots").is_dir() else "")
        )
    config = folder / (OPEN_CLIP if file.name.removesuffix(INDEX) in OPEN_CLIP_FILES else configs[0])
    values = _read_config(config)
    if config.name == OPEN_CLIP:
        _check_open_clip(config, values, network, reference)
        normalisation = normalisation_of(values.get("preprocess_cfg") or {}, config)
    elif "architecture" in values:
        _check_timm(config, values, network)
        normalisation = normalisation_of(values.get("pretrained_cfg") or values, config)
    else:
        _check_transformers(config, values, network, reference)
        normalisation = _of_processor(folder / "preprocessor_config.json")
    return read_state(file)[0], normalisation


def _configs(folder: Path) -> list[str]:
    return [name for name in (CONFIG, OPEN_CLIP) if (folder / name).is_file()]


def _weights_file(folder: Path) -> Path | None:
    """Return the preferred file with weights in a folder; safetensors come first."""
    for name in (*FILES, *OPEN_CLIP_FILES):
        for file in (folder / name, folder / f"{name}{INDEX}"):
            if file.is_file():
                return file
    return None


def _read_config(path: Path) -> dict[str, Any]:
    try:
        return read_json(path)
    except HypercolumnsError as error:
        raise ArgumentError(f"weights={path.parent}: {summarize_error(error)}") from error


def _check_timm(config: Path, values: Mapping[str, Any], network: str) -> None:
    """Check that timm's config is that of the network."""
    architecture, arguments = str(values["architecture"]), values.get("model_args") or {}
    model = networks.of_timm(network)
    if model is None or architecture.partition(".")[0] != model.partition(".")[0]:
        raise ArgumentError(
            f"weights={config.parent} holds weights of {networks.TIMM}{architecture} ({CONFIG}), but the network is "
            f"{network}; choose the network by cnn=timm cnn.model={architecture}, or pass weights of {network}"
        )
    if changed := [name for name in arguments if name not in WITHOUT_EFFECT]:
        raise ArgumentError(
            f"weights={config.parent}: {CONFIG} changes the architecture by model_args ({', '.join(changed)}), which "
            f"{network} does not have; pass weights of the unchanged network"
        )


def _check_transformers(config: Path, values: Mapping[str, Any], network: str, reference: nn.Module) -> None:
    """Check what a config of transformers says of the network and its weights do not: the heads and the activation."""
    kind = values.get("model_type")
    if kind not in TRANSFORMERS or networks.of_timm(network) is None:
        model = networks.of_timm(network)
        file = "" if model is None else f"; pass the file or folder that timm has for it, {networks.TIMM}{model}"
        raise ArgumentError(
            f"weights={config.parent} is a folder with model_type={kind} ({CONFIG}), which can't be converted for "
            f"{network}; expected timm's config with an architecture, or for a network of timm one of transformers' "
            f"types {', '.join(TRANSFORMERS)}{file}"
        )
    vision = {**values, **(values.get("vision_config") or {})}
    given, own = vision.get("num_attention_heads"), _find(reference, "num_heads")
    if given is not None and given != own:
        raise ArgumentError(
            f"weights={config.parent} has num_attention_heads={given} ({CONFIG}), but {network} has {own}; pass "
            f"weights of the same network"
        )
    if not vision.get("use_swiglu_ffn"):  # DINOv2's gated layers use SiLU, whatever hidden_act says
        name = str(vision.get("hidden_act"))
        _check_activation(config, f"hidden_act={name}", name, network, _find(reference, "act"))


def _check_open_clip(config: Path, values: Mapping[str, Any], network: str, reference: nn.Module) -> None:
    """Check the activation that a config of OpenCLIP states.

    It is that of OpenCLIP's own transformers. Image towers of timm and the ResNets, whose `layers` is a list, have
    others, whatever quick_gelu says.
    """
    model = values.get("model_cfg") or {}
    vision = model.get("vision_cfg") or {}
    if model and not vision.get("timm_model_name") and not isinstance(vision.get("layers"), list):
        quick = bool(model.get("quick_gelu"))
        name = "quick_gelu" if quick else "gelu"
        _check_activation(config, f"quick_gelu={str(quick).lower()}", name, network, _find(reference, "act"))


def _check_activation(config: Path, setting: str, name: str, network: str, activation: object) -> None:
    """Check that a network has the activation that a config states, and print a small difference.

    Args:
        config: the config.
        setting: what the config states, for messages.
        name: the name of the activation; activations of unknown names are not checked.
        network: the name of the network.
        activation: the network's activation.

    Raises:
        ArgumentError: if the two differ by more than the two forms of GELU do, which is less than 0.001.
    """
    if name not in ACTIVATIONS or not isinstance(activation, nn.Module):
        return
    x = torch.linspace(-6, 6, 97)
    difference = float((ACTIVATIONS[name](x) - activation(x)).abs().max())
    differs = f"has {setting} ({config.name}), but the activation of {network} differs from it by {difference:.2g}"
    if difference > 0.001:
        raise ArgumentError(f"weights={config.parent} {differs}; {_twin(network)}pass weights of the same network")
    if difference > 1e-5:
        report(f"weights={config.parent} {differs}; the maps differ slightly from those of the weights' authors")


def _twin(network: str) -> str:
    """Return a clause that names timm's network that differs in QuickGELU only; an empty text if there is none."""
    own = (networks.of_timm(network) or "").partition(".")[0]
    plain = own.replace(QUICK, "")
    names = [name for name in networks.list_names(network) if name != own and name.replace(QUICK, "") == plain]
    return f"choose the network {networks.TIMM}{names[0]}, or " if names else ""


def _find(network: nn.Module, attribute: str) -> Any:
    """Return an attribute of the first module that has it; None if there is none."""
    return next((getattr(part, attribute) for part in network.modules() if hasattr(part, attribute)), None)


def _of_processor(path: Path) -> Normalisation | None:
    """Return the mean and standard deviation of a `preprocessor_config.json` of transformers for images in [0, 1].

    The processor computes (255 x r - mean) / std with the factor r, `rescale_factor`, unless a step is turned off.
    """
    if not path.is_file():
        return None
    values = _read_config(path)
    mean, std = values.get("image_mean"), values.get("image_std")
    if not values.get("do_normalize", True):
        mean, std = [0.0] * RGB, [1.0] * RGB
    factor = 255 * float(values.get("rescale_factor") or 1 / 255) if values.get("do_rescale", True) else 255.0
    if isinstance(mean, list) and isinstance(std, list) and abs(factor - 1) > 1e-4:
        mean, std = [value / factor for value in mean], [value / factor for value in std]
    return normalisation_of({"mean": mean, "std": std}, path)
