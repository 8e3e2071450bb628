"""What a network does in training only: it leaves out random residual branches, and computes activations again."""

from collections.abc import Iterable
from typing import Any

from torch import nn

from hypercolumns.errors import ArgumentError


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


def use_grad_checkpointing(name: str, kind: str, body: Any, frozen: Iterable[nn.Module]) -> None:
    """Let a network compute the activations of its blocks again in the backward pass, in place of holding them.

    Args:
        name: the network's name.
        kind: how its maps are computed, see `_readers`.
        body: the network.
        frozen: the modules that stay in evaluation mode.

    Raises:
        ArgumentError: if the network can't do so, or if it would change the result.
    """
    remedy = "set grad_checkpointing=false"
    if kind != "blocks":
        raise ArgumentError(
            f"grad_checkpointing=true is possible for transformers and hybrids that are read by blocks, but the maps "
            f"of {name} are computed by a graph of its layers; {remedy}"
        )
    still = {id(part) for module in frozen for part in module.modules()}
    for path, layer in body.named_modules():
        if isinstance(layer, nn.modules.batchnorm._BatchNorm) and layer.track_running_stats and id(layer) not in still:
            raise ArgumentError(
                f"grad_checkpointing=true would update the statistics of trained BatchNorm layers of {name} ({path}, "
                f"for example) twice in each step; {remedy}, or choose a value of trainable that freezes them"
            )
    try:
        body.set_grad_checkpointing(True)
    except (AssertionError, AttributeError) as error:  # timm's way to say that a network can't
        raise ArgumentError(f"grad_checkpointing=true is not possible for {name} in timm; {remedy}") from error
