"""Fine-tune a network: which layers are trained, and what the network does in training only."""

from collections.abc import Iterable
from typing import Any, Literal

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from hypercolumns.errors import ArgumentError, is_int
from hypercolumns.models.backbones import _timm, networks
from hypercolumns.models.backbones._body import parameters_of
from hypercolumns.models.backbones.tapped_network import TappedNetwork

Trainable = int | Literal["all"]


def trainable_taps(trainable: object, taps: int, network: str) -> int:
    """Return how many of the last taps a backbone trains, by its argument `trainable`.

    Args:
        trainable: the argument: a number of taps, or "all".
        taps: the number of taps of the backbone, without context taps.
        network: the name of the network.

    Returns:
        The number of taps.

    Raises:
        ArgumentError: if `trainable` is neither, or is a number of taps above 0 of a network without layers.
    """
    if network in networks.OWN and is_int(trainable, minimum=1):
        raise ArgumentError(
            f"trainable={trainable} trains layers of the last taps, but {network} has no layers to train; use 0, which "
            f"trains the classifier alone, or another network"
        )
    if trainable == "all":
        return taps
    if isinstance(trainable, bool) or not isinstance(trainable, int) or not 0 <= trainable <= taps:
        raise ArgumentError(f"trainable={trainable} must be a number of taps, from 0 to {taps}, or the word all")
    return trainable


def freeze(network: TappedNetwork, trainable: Trainable) -> list[nn.Module]:
    """Freeze all layers except those that `trainable` chooses, and parameters that no tap uses.

    This sets `requires_grad` of all parameters.

    Args:
        network: the network.
        trainable: see `Backbone`.

    Returns:
        The modules that have to stay in evaluation mode.

    Raises:
        ArgumentError: unless `trainable` is a number of taps or "all".
    """
    taps = network.tap_modules
    count = trainable_taps(trainable, len(taps), network.name)
    network.body.requires_grad_(False)
    if count == 0:
        return [network.body]
    for parameter in parameters_of(network.used_by(taps)):  # in DDP, one without a gradient is an error
        parameter.requires_grad_(True)
    frozen = network.used_by(taps[: len(taps) - count])
    for parameter in parameters_of(frozen):
        parameter.requires_grad_(False)
    return [part for part in frozen if isinstance(part, nn.Module)]


def trained_batch_norms(body: nn.Module, frozen: Iterable[nn.Module]) -> list[tuple[str, _BatchNorm]]:
    """Return the BatchNorm layers of a network that are not frozen, with their paths.

    Args:
        body: the network.
        frozen: the modules that stay in evaluation mode.
    """
    still = {id(part) for module in frozen for part in module.modules()}
    named = body.named_modules()
    return [(path, layer) for path, layer in named if isinstance(layer, _BatchNorm) and id(layer) not in still]


def synchronize_batch_norm(network: TappedNetwork, frozen: Iterable[nn.Module], trainable: Trainable) -> None:
    """Replace the BatchNorm layers that are not frozen by SyncBatchNorm layers, see `Backbone`.

    Args:
        network: the network.
        frozen: the modules that stay in evaluation mode.
        trainable: see `Backbone`.

    Raises:
        ArgumentError: if a BatchNorm layer that is not frozen is not on a CUDA GPU, or is not a plain `nn.BatchNorm2d`.
    """
    for path, layer in trained_batch_norms(network.body, frozen):
        if type(layer) is not nn.BatchNorm2d or layer.weight.device.type != "cuda":
            raise ArgumentError(
                f"trainable={trainable} trains BatchNorm layers of {network.name} ({path}, for example); with several "
                f"processes, trained BatchNorm layers must be plain nn.BatchNorm2d layers on CUDA GPUs; choose a value "
                f"of trainable that freezes all BatchNorm layers, or use one process"
            )
        network.body.set_submodule(path, nn.SyncBatchNorm.convert_sync_batchnorm(layer))


def check_drop_path(name: str, body: nn.Module, drop_path: float | None) -> None:
    """Check that a network has residual branches to leave out, if `drop_path` is above 0.

    Args:
        name: the network's name.
        body: the network up to its last tap, built with `drop_path`.
        drop_path: see `Backbone`.

    Raises:
        ArgumentError: if it has none. Some constructors ignore the wish, and the first block is never left out.
    """
    if drop_path and not any(getattr(module, "drop_prob", 0) for module in body.modules()):
        raise ArgumentError(
            f"drop_path={drop_path} has no effect on {name}: it has no residual branches up to its last tap that timm "
            f"can leave out; set drop_path=null"
        )


def check_scales(network: TappedNetwork, frozen: Iterable[nn.Module]) -> None:
    """Check that a network that sees images at several scales trains no BatchNorm layer.

    Args:
        network: the network.
        frozen: the modules that stay in evaluation mode.

    Raises:
        ArgumentError: if it does. Such a layer would normalise each scale by its own statistics in training, and all
            scales by a mixture of them afterwards.
    """
    norms = [path for path, layer in trained_batch_norms(network.body, frozen) if layer.track_running_stats]
    if len(network.scales) > 1 and norms:
        raise ArgumentError(
            f"scales={[float(scale) for scale in network.scales]} does not work with trained BatchNorm layers of "
            f"{network.name} ({norms[0]}, for example), whose statistics would be a mixture of those of all scales; "
            f"use one scale, or choose a value of trainable that freezes them"
        )


def use_grad_checkpointing(network: TappedNetwork, frozen: Iterable[nn.Module]) -> None:
    """Let a network compute the activations of its blocks again in the backward pass, in place of holding them.

    Args:
        network: the network.
        frozen: the modules that stay in evaluation mode.

    Raises:
        ArgumentError: if the network can't do so, or if it would change the result.
    """
    remedy = "set grad_checkpointing=false"
    if network.reader.kind != "blocks":
        raise ArgumentError(
            f"grad_checkpointing=true is possible for transformers and hybrids that are read by blocks, but the maps "
            f"of {network.name} are computed by a graph of its layers; {remedy}"
        )
    body: Any = network.body
    if networks.of_timm(network.name) is not None:
        _timm.check_checkpointing()
    try:
        body.set_grad_checkpointing(True)
    except (AssertionError, AttributeError) as error:  # timm's way to say that a network can't
        raise ArgumentError(f"grad_checkpointing=true is not possible for {network.name} in timm; {remedy}") from error
    trained = any(parameter.requires_grad for parameter in body.parameters())
    recomputed = network.recomputed(frozen) if trained else []
    if trained and not recomputed:
        raise ArgumentError(
            f"grad_checkpointing=true has no effect on {network.name}: none of its trained layers is computed again; "
            f"{remedy}"
        )
    for path, layer in trained_batch_norms(body, frozen):
        if layer.track_running_stats and path in recomputed:
            raise ArgumentError(
                f"grad_checkpointing=true would compute trained BatchNorm layers of {network.name} ({path}, for "
                f"example) again in each step, and update their statistics twice; {remedy}, or choose a value of "
                f"trainable that freezes them"
            )
