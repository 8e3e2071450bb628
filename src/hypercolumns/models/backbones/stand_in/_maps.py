"""Maps inside the stand-in for a network, which do not copy the values that they repeat.

Most maps repeat one value along some dimensions, because their channels are equal. Such a map has an attribute `thin`:
a tensor with one value along these dimensions. All functions compute with that, so that a map with a thousand channels
costs no more than one with a single channel. A map of concatenated maps has an attribute `parts` in place of values.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor


class StandInMap(Tensor):
    """A map inside the stand-in for a network.

    Attributes:
        gated: whether the value of a cell includes the cell's gate, see `GatedMeanPropagation`.
        parts: the maps (B, C, h, w) that are concatenated along the channels, if their values are not
            copied. Most layers read only the mean of the channels.
        thin: the values of the map, with one value along dimensions along which it repeats; None: not known.
    """

    gated = False
    parts: Sequence[Tensor] | None = None
    thin: Tensor | None = None


def thin(x: Tensor) -> Tensor:
    """Return a map with one value along each dimension along which it is known to repeat."""
    values: Tensor | None = getattr(x, "thin", None)
    if values is None:
        sides = zip(x.shape, x.stride(), strict=True)
        values = x[tuple(slice(0, 1) if side > 1 and stride == 0 else slice(None) for side, stride in sides)]
    return values


def spread(values: Tensor, shape: Sequence[int]) -> Tensor:
    """Return a map of a shape that repeats some values, and knows that it does."""
    repeated = values.expand(*shape)
    repeated.thin = values  # type: ignore[attr-defined]
    return repeated


def once(function: Callable[[Tensor], Tensor], x: Tensor, *changed: int) -> Tensor:
    """Apply a function to one slice of each dimension along which a map repeats, and repeat the result.

    Args:
        function: returns a tensor with as many dimensions as it is given.
        x: the map.
        changed: the dimensions along which the function moves or joins values, from 0.

    Returns:
        `function(x)`.
    """
    values = thin(x)
    values = values.expand([x.shape[dim] if dim in changed else -1 for dim in range(x.ndim)])
    result = function(values)
    return spread(result, [side if dim in changed else x.shape[dim] for dim, side in enumerate(result.shape)])


def scaled(x: Tensor, share: float) -> Tensor:
    if getattr(x, "parts", None) is not None:
        return joined([scaled(part, share) for part in x.parts])  # type: ignore[attr-defined]
    return spread(thin(x) * share, x.shape)


def joined(parts: Sequence[Tensor]) -> Tensor:
    """Return maps (B, C, h, w) that are concatenated along the channels, as one map that only notes its parts."""
    flat = [inner for part in parts for inner in getattr(part, "parts", None) or [part]]
    shapes = {(part.shape[0], *part.shape[2:]) for part in flat}
    if len(shapes) > 1:
        raise ValueError(f"maps of several sizes can't be concatenated: {sorted(shapes)}")
    batch, height, width = next(iter(shapes))
    joined = torch.zeros((), dtype=torch.float64).expand(batch, sum(part.shape[1] for part in flat), height, width)
    joined.parts = flat  # type: ignore[attr-defined]
    return joined


def whole(x: Tensor) -> Tensor:
    """Return a map with values in place of a map that only notes its parts."""
    parts: Any = getattr(x, "parts", None)
    if parts is None:
        return x
    if len(parts) > 1:
        # The values become the only part, so that a later change of them in place changes the map.
        x.parts = parts = [torch.cat([part.as_subclass(Tensor) for part in parts], 1)]  # type: ignore[attr-defined]
    only: Tensor = parts[0].as_subclass(type(x))
    return only


def by_part(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Return a function of maps that also runs on each part of concatenated maps. It must not mix channels."""

    @functools.wraps(function)
    def apply(x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        parts = getattr(x, "parts", None)
        if parts is None:
            return function(x, *args, **kwargs)
        return joined([function(part, *args, **kwargs) for part in parts])

    return apply


def channel_mean(x: Tensor, dim: int) -> Tensor:
    """Return the mean along a dimension, which stays with the length 1."""
    parts = getattr(x, "parts", None)
    if parts is not None:
        shares = [channel_mean(part, dim) * (part.shape[dim] / x.shape[dim]) for part in parts]
        mean: Tensor = sum(shares[1:], shares[0])
        return mean
    values = thin(x)
    values = values if values.shape[dim] == 1 else values.mean(dim, keepdim=True)
    return values.expand(*x.shape[:dim], 1, *x.shape[dim + 1 :])


def mapped(function: Callable[[Tensor], Any], values: Any) -> Any:
    """Apply a function to all tensors in nested lists, tuples and dictionaries."""
    if isinstance(values, Tensor):
        return function(values)
    if type(values) in (list, tuple):
        return type(values)(mapped(function, value) for value in values)
    if type(values) is dict:
        return {key: mapped(function, value) for key, value in values.items()}
    return values


def tensors_in(values: Any) -> list[Tensor]:
    """Return all tensors in nested lists, tuples and dictionaries."""
    found: list[Tensor] = []
    mapped(found.append, values)
    return found


def without_parameters(values: Any) -> Any:
    def zeros(tensor: Tensor) -> Tensor:
        if isinstance(tensor, StandInMap) or not tensor.is_meta:
            return tensor
        return torch.zeros(tensor.shape, dtype=tensor.dtype)

    return mapped(zeros, values)
