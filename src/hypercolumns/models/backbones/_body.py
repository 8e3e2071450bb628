"""What a network up to its last tap has in common, however its maps are computed."""

import copy
import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

MAX_NAMES = 40  # maximum number of module names that an error message lists

TapModules = tuple[tuple[str, ...], ...]  # for each tap, the paths of the tap's modules in the network
M = TypeVar("M", bound=nn.Module)


def run_body(body: Callable[[Tensor], Mapping[str, Tensor]], tap_modules: TapModules, images: Tensor) -> list[Tensor]:
    """Run a network and return the map of each tap: the outputs of the tap's modules, concatenated along the channels.

    Args:
        body: the network. It returns a dictionary from the path of each tapped module to the module's output.
        tap_modules: for each tap, the paths of the tap's modules.
        images: (B, N, H, W), normalised with the backbone's mean and standard deviation.

    Returns:
        One map (B, C_l, h_l, w_l) for each tap, in the order of `tap_modules`.
    """
    outputs = body(images)
    return [
        torch.cat([outputs[module] for module in modules], dim=1) if len(modules) > 1 else outputs[modules[0]]
        for modules in tap_modules
    ]


def without_values(body: M) -> M:
    """Copy a network to the meta device, in evaluation mode. The tensors of the copy have shapes, but no values."""
    empty: dict[int, Any] = {id(tensor): nn.Parameter(tensor.to("meta"), False) for tensor in body.parameters()}
    twin: M = copy.deepcopy(body, empty | {id(tensor): tensor.to("meta") for tensor in body.buffers()})
    return twin.eval()


def parameters_of(parts: Sequence[nn.Module | Tensor]) -> list[nn.Parameter]:
    """Return the parameters in some parts of a network. A buffer has no parameters."""
    found: list[nn.Parameter] = []
    for part in parts:
        if isinstance(part, nn.Module):
            found += part.parameters()
        elif isinstance(part, nn.Parameter):
            found.append(part)
    return found


def hash_weights(body: nn.Module) -> str:
    """Return a hash of the weights and buffers of a network."""
    digest = hashlib.sha256()
    for name, tensor in body.state_dict().items():
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:16]
