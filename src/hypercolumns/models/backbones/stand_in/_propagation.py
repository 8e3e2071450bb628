"""The maps that run through the stand-in for a network, and which function of torch is replaced by what."""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from hypercolumns.models.backbones.stand_in import _joins, _layers
from hypercolumns.models.backbones.stand_in._maps import (
    StandInMap,
    mapped,
    tensors_in,
    whole,
    without_parameters,
)


class MeanPropagation(StandInMap):
    """A map inside the stand-in for the network.

    If a function of torch is called on the map, its replacement in `STAND_INS` runs instead. Reshaping, concatenation,
    interpolation and similar functions have no replacement. They run unchanged, because they only move or average
    values. Parameters have no place in the image. They are 0 if they become a part of a map.
    """

    @classmethod
    def __torch_function__(
        cls, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Call the function in `STAND_INS` that replaces `func`, or `func` itself if `STAND_INS` has no replacement.

        Args:
            func: the function of torch that was called.
            types: the tensor types among the arguments.
            args: the positional arguments of the call.
            kwargs: the keyword arguments of the call.

        Returns:
            The result of the call.
        """
        name = getattr(func, "__name__", "").strip("_")
        named = dict(kwargs or {})
        if name not in TAKES_PARTS and not (name == "get" and func.__self__.__name__ in METADATA):
            args, named = mapped(whole, args), mapped(whole, named)
        stand_in: Callable[..., Any]
        if name in _joins.PRODUCTS:
            stand_in = functools.partial(_joins.product, func)
        elif name in STAND_INS:
            stand_in = STAND_INS[name]
        else:
            stand_in, args, named = func, without_parameters(args), without_parameters(named)
        with torch._C.DisableTorchFunctionSubclass():
            return cls._of(stand_in(*args, **named))

    @classmethod
    def _of(cls, result: Any) -> Any:
        """Return the result of a function with maps of this class, which know along which dimensions they repeat."""
        if isinstance(result, list | tuple):
            return type(result)(map(cls._of, result))
        if not isinstance(result, Tensor) or isinstance(result, cls):
            return result
        x = result.as_subclass(cls)
        x.thin, x.parts = getattr(result, "thin", None), getattr(result, "parts", None)
        return x


class GatedMeanPropagation(MeanPropagation):
    """A map inside the stand-in for the network, for measuring extents. The values of its cells include gates.

    Some networks compute a gate for each channel of a map (squeeze-and-excitation): one factor for all cells of the
    channel. A gate depends on the whole map, so a cell with a gate has the whole map as its receptive field. The base
    class leaves gates out, because a gate does not move the centre of a cell.

    The result of attention, or of a mean of a whole map, is NaN, and so is each cell that depends on it.
    """

    gated = True


class ConstantsOnMeta(TorchFunctionMode):
    """Move constants to the meta device where a function joins them with parameters, which are on that device."""

    def __torch_function__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Call a function of torch, with all tensors on the meta device if one of them is, and none of them is a map.

        Args:
            func: the function of torch that was called.
            types: the tensor types among the arguments.
            args: the positional arguments of the call.
            kwargs: the keyword arguments of the call.

        Returns:
            The result of the call.
        """
        if func.__name__ == "__get__":  # an attribute, such as the shape
            return func(*args)
        named = dict(kwargs or {})
        tensors = tensors_in([args, named])
        if not any(isinstance(each, MeanPropagation) for each in tensors) and any(each.is_meta for each in tensors):
            args, named = (mapped(lambda tensor: tensor.to("meta"), part) for part in (args, named))
            if func is Tensor.to and isinstance(args[-1], torch.device):
                return args[0]  # there are no values to copy to another device
        return func(*args, **named)


class IndicesOnCPU(ConstantsOnMeta):
    """Keep counted numbers on the CPU, while the maps of a network are on the meta device.

    Networks compute positions from `torch.arange`. If these have values, a network can read the largest of them, and an
    index that lies outside of a table is found: the table is then too small for the size of the image.
    """

    def __torch_function__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Call a function of torch with the device CPU if it is `torch.arange`, and check the indices of tables.

        Args:
            func: the function of torch that was called.
            types: the tensor types among the arguments.
            args: the positional arguments of the call.
            kwargs: the keyword arguments of the call.

        Returns:
            The result of the call.

        Raises:
            IndexError: if an index lies outside of a tensor.
        """
        if func is torch.arange:
            return func(*args, **{**(kwargs or {}), "device": "cpu"})
        if func is not Tensor.__getitem__:
            return super().__torch_function__(func, types, args, kwargs)
        table, index = args
        if isinstance(index, Tensor) and not index.is_meta and not index.is_floating_point() and index.numel():
            rows = len(table)
            if index.dtype != torch.bool and not -rows <= int(index.min()) <= int(index.max()) < rows:
                raise IndexError(f"an index up to {int(index.max())} lies outside of a table of {rows} rows")
        return func(table, index)


# The functions that replace torch's functions and methods. The keys are the names of the replaced ones, without leading
# and trailing underscores.
STAND_INS: dict[str, Callable[..., Tensor]] = _layers.STAND_INS | _joins.STAND_INS
# The functions that take maps with `StandInMap.parts`, and the attributes that are right on such maps.
TAKES_PARTS = _layers.SAME | set("cat concat conv2d conv_transpose2d max_pool2d avg_pool2d sigmoid size dim".split())
METADATA = set("shape ndim dtype device is_cuda is_meta requires_grad".split())
