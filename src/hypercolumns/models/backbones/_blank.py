"""Build networks without random values, whose parameters have shapes only."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

# Functions of `nn.init` and methods of tensors that fill a tensor with random values.
RANDOM = set("bernoulli_ cauchy_ exponential_ geometric_ log_normal_ normal_ random_ uniform_".split())
# Methods that change the values of a tensor. A tensor on the meta device has no values.
CHANGES = set("add_ clamp_ div_ erfinv_ fill_ mul_ sub_ zero_".split())
T = TypeVar("T")


def build_without_values(build: Callable[[], T]) -> T:
    """Build a network without values, or with them if its constructor computes with tensors and needs their values."""
    try:
        with WithoutRandomValues():
            return build()
    except RuntimeError:
        return build()


class WithoutRandomValues(TorchFunctionMode):
    """Create tensors that torch leaves uninitialised on the meta device, and do not fill them with random values.

    With `torch.device("meta")`, all new tensors would be on the meta device. Even simple functions of such tensors, for
    example `normal_` and the product with a number, import torch's compiler, which takes as long as `import torch`.
    """

    def __torch_function__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Call a function of torch with the device meta if it is `torch.empty`; leave it out if it sets random values.

        Args:
            func: the function of torch that was called.
            types: the tensor types among the arguments.
            args: the positional arguments of the call.
            kwargs: the keyword arguments of the call.

        Returns:
            The result of the call. For a function that is left out, this is the tensor that it would have changed.
        """
        named = dict(kwargs or {})
        name = getattr(func, "__name__", "")
        tensor = args[0] if args else named.get("tensor")
        if name in RANDOM or (name in CHANGES and isinstance(tensor, Tensor) and tensor.is_meta):
            return tensor
        if func is torch.empty and named.get("device") is None:
            named["device"] = "meta"
        return func(*args, **named)
