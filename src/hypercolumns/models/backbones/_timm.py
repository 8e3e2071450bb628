"""Networks of the optional package timm: models by name, their feature maps, and their pretrained weights."""

import contextlib
import difflib
import functools
import importlib
import inspect
import io
import logging
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from types import ModuleType
from typing import Any

from torch import Tensor, nn

from hypercolumns.errors import ArgumentError, HypercolumnsError
from hypercolumns.io.decoding import RGB
from hypercolumns.models.backbones._blank import build_without_values
from hypercolumns.models.backbones._blocks import block_names, default_blocks, is_columnar
from hypercolumns.models.backbones._downloads import hub_without_retries, reason


def build(model: str, channels: int = RGB, drop_path: float | None = None) -> nn.Module:
    """Build a whole model of timm with random weights.

    Args:
        model: its name without the prefix `timm/`.
        channels: the number of channels of the images.
        drop_path: see `Backbone`.

    Returns:
        The model.

    Raises:
        ArgumentError: if timm has no model of this name, or the model does not take `drop_path`.
    """
    if not drop_path:
        return _create(model, channels)  # type: ignore[no-any-return]
    try:
        return _create(model, channels, drop_path_rate=drop_path)  # type: ignore[no-any-return]
    except TypeError as error:
        raise ArgumentError(
            f"drop_path={drop_path} is not possible for {model}: timm's constructor has no drop_path_rate "
            f"({_reason(error)}); set drop_path=null"
        ) from error


def default_taps(model: str) -> list[str]:
    """Return the paths of the modules whose outputs timm lists as the feature maps of a model (`features_only=True`).

    Of a network whose blocks all have maps of one stride, they are four blocks.

    Raises:
        ArgumentError: if timm has no such model, lists no feature maps for the model, or lists feature maps that are
            not the outputs of modules.
    """
    _check(model)
    # The network with timm's own options has been built to find the options.
    network = _create_blank(model) if _size_options(model) else _usual(model)
    if is_columnar(network):
        return default_blocks(network)
    try:
        taps: list[str] = _create_blank(model, features_only=True).feature_info.module_name()
        if len(set(taps)) < len(taps):
            return default_blocks(network)  # several maps have one path
        for tap in set(taps) - set(block_names(network)):
            network.get_submodule(tap)
    except Exception as error:  # timm raises many kinds of errors for a model without feature maps
        if blocks := default_blocks(network):
            return blocks
        raise ArgumentError(
            f"network=timm/{model}: timm lists no modules as the feature maps of this model; list modules of the "
            f"model in taps, or choose another model"
        ) from error
    return taps


def tracing() -> dict[str, Any]:
    """Return the keyword arguments that torchvision's tracer needs for networks of timm.

    They list the modules and functions of timm whose code torch.fx must not trace. A traced `DropPath` would have the
    mode of the whole network, and leave out branches in frozen layers, too.
    """
    _timm()
    layers = importlib.import_module("timm.layers")
    return {
        "leaf_modules": [*layers.get_notrace_modules(), layers.DropPath],
        "autowrap_functions": layers.get_notrace_functions(),
    }


def check_checkpointing() -> None:
    """Check that timm's gradient checkpointing gives all trained layers their gradients.

    Raises:
        ArgumentError: if timm uses torch's reentrant variant. A block whose input needs no gradient, such as the first
            trained block after frozen ones, would get none.
    """
    _timm()
    if importlib.import_module("timm.layers").use_reentrant_ckpt():
        raise ArgumentError(
            "grad_checkpointing=true would leave trained blocks after frozen ones without gradients, because the "
            "environment variable TIMM_REENTRANT_CKPT is set; unset it"
        )


def list_names() -> list[str]:
    """Return the names of timm's models, without tags of weights."""
    names: list[str] = _timm().list_models()
    return names


def convert(
    model: str, state: Mapping[str, Tensor], network: nn.Module
) -> tuple[Mapping[str, Tensor], tuple[str, ...]] | None:
    """Convert weights by the names of a model's authors to timm's names, by timm's own function.

    timm's function also resamples position embeddings for another number of patches.

    Args:
        model: the name of the model.
        state: the weights by the authors' names.
        network: the model, possibly on the meta device.

    Returns:
        The weights by timm's names, and what timm logged about them; None if timm has no such function for the model,
        or the function does not know the names.
    """
    module = sys.modules[_timm().models.model_entrypoint(model).__module__]
    function = getattr(module, "checkpoint_filter_fn", None)
    if function is None:
        return None
    settings = {"adapt_layer_scale": True} if "deit" in module.__name__ else {}
    try:
        quiet = warnings.catch_warnings(action="ignore")  # of torch, about timm's use of it
        with quiet, _logged() as notes, contextlib.redirect_stdout(io.StringIO()):
            return function(dict(state), network, **settings), tuple(notes)
    except Exception:  # names that the function does not know make it raise many kinds of errors
        return None


@contextlib.contextmanager
def _logged() -> Iterator[list[str]]:
    """Collect the messages that timm logs, in place of logging them."""
    messages: list[str] = []
    handler, logger = logging.Handler(), logging.getLogger("timm")
    handler.emit = lambda record: messages.append(record.getMessage())  # type: ignore[method-assign]
    level, propagate = logger.level, logger.propagate
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False
    try:
        yield messages
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
        logger.propagate = propagate


def pretrained(model: str, channels: int = RGB) -> Mapping[str, Tensor]:
    """Return the state dict of a model's pretrained weights. timm downloads weights that its cache does not have.

    For images with another number of channels than three, timm repeats the filters of red, green and blue in the first
    convolution, and scales them (`in_chans`).

    Raises:
        ArgumentError: if timm can't load or download the weights.
    """
    _check(model)
    with hub_without_retries() as problem:
        try:
            state: Mapping[str, Tensor] = _create(model, channels, pretrained=True).state_dict()
        except Exception as error:  # timm and its download libraries raise many kinds of errors
            raise ArgumentError(
                f"weights=pretrained (timm's weights of {model}) could not be loaded or downloaded "
                f"({reason(error, problem)}); {_how_to_bring(model)} in place of pretrained, or null for random weights"
            ) from error
    return state


def usual_size(model: str) -> tuple[int, int]:
    """Return the (height, width) in pixels of the images that a model is made for."""
    _check(model)
    _, height, width = _timm().get_pretrained_cfg(model).input_size
    return height, width


def _how_to_bring(model: str) -> str:
    """Return a clause that says which file of pretrained weights timm loads for a model, and how to pass it."""
    config = _timm().get_pretrained_cfg(model)
    if config is not None and config.hf_hub_id:
        file = config.hf_hub_filename or "model.safetensors"
        return (
            f"bring {file} (with config.json, if it has one) of https://huggingface.co/{config.hf_hub_id} from a "
            f"machine with internet, and pass the path of the file or of its folder"
        )
    if config is not None and config.url:
        return f"bring {config.url} from a machine with internet, and pass the path of the file"
    return f"timm has no weights of {model}; pass the path of a file or folder"


def normalisation(model: str) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return the mean and the standard deviation by which images are normalised for a model's pretrained weights.

    Each holds three numbers (red, green, blue), for images in [0, 1].
    """
    _check(model)
    config = _timm().get_pretrained_cfg(model)
    return tuple(config.mean), tuple(config.std)


def find_builder(model: str) -> Callable[..., nn.Module]:
    """Return timm's function that builds a model."""
    _check(model)
    builder: Callable[..., nn.Module] = _timm().model_entrypoint(model.partition(".")[0])
    return builder


def _reason(error: Exception) -> str:
    words = " ".join(str(error).split()) or type(error).__name__
    return words if len(words) <= 200 else f"{words[:200]}..."


def _create(model: str, channels: int = RGB, **settings: Any) -> Any:
    _check(model)
    if channels != RGB:
        settings["in_chans"] = channels
    return _timm().create_model(model, **_size_options(model), **settings)


def _create_blank(model: str, **settings: Any) -> Any:
    """Build a model as `_create` does, without values of its weights where possible."""
    return build_without_values(lambda: _create(model, **settings))


@functools.cache
def _size_options(model: str) -> Mapping[str, Any]:
    """Return the options by which timm builds a model that takes images of other sizes than the usual one."""
    accepted = inspect.signature(type(_usual(model)).__init__).parameters
    for option, value in (("dynamic_img_size", True), ("strict_img_size", False)):
        if option in accepted:
            return {option: value}
    return {}


@functools.lru_cache(maxsize=1)
def _usual(model: str) -> nn.Module:
    """Build a model with timm's own options, without values of its weights where possible. Nobody may change it."""
    network: nn.Module = build_without_values(lambda: _timm().create_model(model))
    return network


def _check(model: str) -> None:
    """Check a name of a model of timm (`resnet18`), which may end in a tag of pretrained weights (`resnet18.a1_in1k`).

    Raises:
        ArgumentError: if timm has no such model, or the model has no pretrained weights with this tag.
    """
    timm = _timm()
    if not timm.is_model(model):  # refuses paths and repositories, which create_model would load
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
            f"network=timm/{model}: timm's {architecture} has no weights with the tag {tag}; choose one of these "
            f"models: {', '.join([architecture, *(f'{architecture}.{known}' for known in tags)])}"
        )


def _timm() -> ModuleType:
    try:
        return importlib.import_module("timm")
    except ImportError as error:
        raise HypercolumnsError(
            "networks of timm need the package timm, which is not installed; in the project's folder, run "
            "uv sync --extra timm or pip install '.[timm]'"
        ) from error
