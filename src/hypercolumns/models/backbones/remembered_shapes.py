"""Compute the shapes of a network's maps on the meta device, for images of many sizes, in little time."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

# Functions whose result has the shape of their first argument. On the meta device, torch runs most of them in Python,
# which takes longer than all other functions of a network together.
ACTIVATIONS = set(
    "relu relu_ relu6 leaky_relu leaky_relu_ elu elu_ selu celu gelu silu mish softplus logsigmoid tanh sigmoid "
    "sigmoid_ hardsigmoid hardtanh hardtanh_ hardswish dropout dropout2d sqrt rsqrt square exp abs neg".split()
)
ARITHMETIC = set(
    "add __add__ __radd__ __iadd__ sub __sub__ __rsub__ mul __mul__ __rmul__ __imul__ div __truediv__ "
    "maximum minimum".split()
)


class RememberedShapes(TorchFunctionMode):
    """Run each function of torch once for each combination of the shapes of its inputs, for networks without values.

    The mode is for networks on the meta device, in evaluation mode and without gradients. Most functions see few shapes
    if images of many sizes run, and on the meta device each call takes long. Functions of tensors on other devices run
    as usual, because their results depend on values.
    """

    def __init__(self) -> None:
        super().__init__()
        self._results: dict[tuple[Any, ...], Any] = {}

    def __torch_function__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Call a function of torch, or return a tensor like the one that an earlier call with such inputs returned.

        Args:
            func: the function of torch that was called.
            types: the tensor types among the arguments.
            args: the positional arguments of the call.
            kwargs: the keyword arguments of the call.

        Returns:
            The result of the call, or tensors of the same shape, strides and type.
        """
        name = func.__name__
        if name == "__get__":  # an attribute, such as the shape
            return func(*args)
        named = kwargs or {}
        result = _simple_result(name, args)
        if result is not None:
            return result
        in_place = (name.endswith("_") and not name.endswith("__")) or name in ("__setitem__", "__set__")
        key = None if in_place else (func, *map(_described, args), *map(_described, named.items()))
        if key is None or not _all_meta(args, named):
            return func(*args, **named)
        if key not in self._results:
            self._results[key] = func(*args, **named)
        return _alias(self._results[key])


def _simple_result(name: str, args: Sequence[Any]) -> Tensor | None:
    """Return a tensor like the result of a function that computes cell by cell; None for other functions.

    Args:
        name: the name of the function.
        args: the positional arguments of the call.
    """
    first = args[0] if args else None
    if not (isinstance(first, Tensor) and first.is_meta and first.is_floating_point()):
        return None
    if name in ACTIVATIONS:
        return first.detach()  # a tensor of its own, whose shape can be changed in place
    if name in ARITHMETIC and len(args) == 2 and first.is_contiguous():
        second = args[1]
        if type(second) in (int, float):
            return first.detach()
        if isinstance(second, Tensor) and second.is_meta and second.dtype == first.dtype and second.is_contiguous():
            shape = torch.broadcast_shapes(first.shape, second.shape)
            return first.detach() if shape == first.shape else first.new_empty(shape)
    return None


def _described(value: Any) -> Any:
    """Return a key with what an argument of a function means for the shape of the function's result."""
    if isinstance(value, Tensor):
        return value.shape, value.stride(), value.dtype
    if isinstance(value, list | tuple):
        return type(value), *map(_described, value)
    return type(value), value if value.__hash__ is not None else repr(value)


def _all_meta(args: Any, named: Mapping[str, Any]) -> bool:
    """Return whether there are tensors among the arguments of a function, and all of them are on the meta device."""
    devices = {part.is_meta for part in _tensors([*args, *named.values()])}
    return devices == {True}


def _tensors(values: Sequence[Any]) -> list[Tensor]:
    found: list[Tensor] = []
    for value in values:
        if isinstance(value, Tensor):
            found.append(value)
        elif isinstance(value, list | tuple):
            found += _tensors(value)
    return found


def _alias(result: Any) -> Any:
    """Return views of the tensors in a result, so that no change of their shapes in place reaches the originals."""
    if isinstance(result, Tensor):
        return result.detach()
    if type(result) in (list, tuple):
        return type(result)(map(_alias, result))
    return result
