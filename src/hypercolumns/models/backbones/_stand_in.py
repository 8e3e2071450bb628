"""The stand-in for a network: every operation is replaced by the unweighted mean of the operation's inputs.

A value that has no place in the image, such as the result of attention, is 0 in a stand-in for centres. Sums then leave
it out, because the maps of an image of ones say how much each sum has counted.
"""

import contextlib
import functools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

# How much the result of a sigmoid counts beside other maps. It is usually a factor of features, and these say where the
# product lies. Where there are no such features, it is the only one that counts.
FACTOR = 1e-9
OTHER_PATH = 1e-6  # how much a path counts beside the preferred one, see `prefer_path`
Path = Literal["first", "last"]
_PREFERRED: ContextVar[Path | None] = ContextVar("_PREFERRED", default=None)


@contextlib.contextmanager
def prefer_path(path: Path) -> Iterator[None]:
    """Let one path decide where paths join: the first or the last one among the arguments of the joining function.

    The weights of a real network may prefer any path, so the centres of its cells lie between the two results.
    """
    token = _PREFERRED.set(path)
    try:
        yield
    finally:
        _PREFERRED.reset(token)


def _weighted(maps: Sequence[Tensor]) -> list[Tensor]:
    """Return maps that join, multiplied by how much each of them counts."""
    preferred = _PREFERRED.get()
    if preferred is None:
        return list(maps)
    kept = 0 if preferred == "first" else len(maps) - 1
    return [each if number == kept else each * OTHER_PATH for number, each in enumerate(maps)]


class MeanPropagation(Tensor):
    """A map inside the stand-in for the network.

    If a function of torch is called on the map, its replacement in `STAND_INS` runs instead. Reshaping, concatenation,
    interpolation and similar functions have no replacement. They run unchanged, because they only move or average
    values. Parameters have no place in the image. They are 0 if they become a part of a map.
    """

    gated = False  # whether the value of a cell includes the cell's gate, see `GatedMeanPropagation`

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
        stand_in: Callable[..., Any]
        if name in PRODUCTS:
            stand_in = functools.partial(_product, func)
        elif name in STAND_INS:
            stand_in = STAND_INS[name]
        else:
            stand_in, args, named = func, _without_parameters(args), _without_parameters(named)
        return super().__torch_function__(stand_in, types, args, named)  # type: ignore[no-untyped-call]


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
        named = dict(kwargs or {})
        tensors = _tensors([args, named])
        if not any(isinstance(each, MeanPropagation) for each in tensors) and any(each.is_meta for each in tensors):
            args, named = (_mapped(lambda tensor: tensor.to("meta"), part) for part in (args, named))
        return func(*args, **named)


def _mapped(function: Callable[[Tensor], Any], values: Any) -> Any:
    """Apply a function to all tensors in nested lists, tuples and dictionaries."""
    if isinstance(values, Tensor):
        return function(values)
    if type(values) in (list, tuple):
        return type(values)(_mapped(function, value) for value in values)
    if type(values) is dict:
        return {key: _mapped(function, value) for key, value in values.items()}
    return values


def _tensors(values: Any) -> list[Tensor]:
    """Return all tensors in nested lists, tuples and dictionaries."""
    found: list[Tensor] = []
    _mapped(found.append, values)
    return found


def _without_parameters(values: Any) -> Any:
    def zeros(tensor: Tensor) -> Tensor:
        if isinstance(tensor, MeanPropagation) or not tensor.is_meta:
            return tensor
        return torch.zeros(tensor.shape, dtype=tensor.dtype)

    return _mapped(zeros, values)


def _same(x: Tensor, *_: Any, **__: Any) -> Tensor:
    return x


def _factor(x: Tensor, *_: Any, **__: Any) -> Tensor:
    return x * FACTOR


def _nowhere(x: Tensor, *_: Any, **__: Any) -> Tensor:
    return torch.zeros_like(x)


def _product(func: Any, *args: Any, **kwargs: Any) -> Any:
    """Return the stand-in for a function that sums products: of two maps, or of a map and a parameter.

    The product of two maps, as in attention, mixes distant cells and has no place of its own.

    Args:
        func: the function, such as `torch.matmul`.
        args: the positional arguments of its call.
        kwargs: the keyword arguments of its call.

    Returns:
        As `func`.
    """
    maps = [part for part in _tensors([args, kwargs]) if isinstance(part, MeanPropagation)]
    if len(maps) == 1 and len(args) == 2 and maps[0] is args[0]:
        x, weight = args
        return x.mean(-1, keepdim=True).expand(*x.shape[:-1], weight.shape[-1])

    def on_meta(tensor: Tensor) -> Tensor:
        return tensor.to("meta", torch.float32 if tensor.is_floating_point() else tensor.dtype)

    results = func(*_mapped(on_meta, args), **_mapped(on_meta, kwargs))
    value = math.nan if maps[0].gated else 0.0
    return _mapped(lambda result: torch.full(result.shape, value, dtype=torch.float64), results)


def _combined(*parts: Any, **_: Any) -> Tensor:
    """Return the sum of the maps among the arguments.

    The sum stands in for every function that combines maps cell by cell: sums, products, quotients, maxima and similar
    functions. Numbers and parameters among the arguments are ignored. A map that repeats along more dimensions than
    another one is taken to be a gate, and is left out unless it is a `GatedMeanPropagation`.
    """
    maps = [part for part in parts if isinstance(part, MeanPropagation)]
    shape = torch.broadcast_shapes(*(part.shape for part in parts if isinstance(part, Tensor)))

    def repeats(part: Tensor) -> int:
        sides = [1] * (len(shape) - part.ndim) + list(part.shape)
        return sum(side != full for side, full in zip(sides, shape, strict=True))

    fewest = min(map(repeats, maps))
    counted = [part for part in maps if part.gated or repeats(part) == fewest]
    return _narrow(functools.partial(functools.reduce, torch.add), [part.expand(shape) for part in _weighted(counted)])


def _concatenated(maps: Sequence[Tensor], *args: Any, **kwargs: Any) -> Tensor:
    parts = [part if isinstance(part, MeanPropagation) else _without_parameters(part) for part in maps]
    return torch.cat(_weighted(parts), *args, **kwargs)


def _narrow(function: Callable[[Sequence[Tensor]], Tensor], maps: Sequence[Tensor]) -> Tensor:
    """Apply a cell-by-cell function to maps of one shape, without the dimensions along which all of them repeat."""
    shape = maps[0].shape
    repeated = [all(part.stride(dim) == 0 for part in maps) for dim in range(len(shape))]
    index = tuple(slice(0, 1) if each else slice(None) for each in repeated)
    return function([part[index] for part in maps]).expand(shape)


def _channel_mean(x: Tensor, dim: int) -> Tensor:
    """Return the mean along a dimension, which stays with the length 1."""
    return x.narrow(dim, 0, 1) if x.stride(dim) == 0 else x.mean(dim, keepdim=True)


def _linear(x: Tensor, weight: Tensor, *_: Any, **__: Any) -> Tensor:
    return _channel_mean(x, x.ndim - 1).expand(*x.shape[:-1], len(weight))


def _convolution(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Tensor:
    mean = _channel_mean(x, 1)  # all channels are equal, so `groups` makes no difference
    kernel = (weight.shape[2], weight.shape[3])
    meta_weight = torch.empty(1, 1, *kernel, device="meta")
    shape = F.conv2d(mean[:1].to("meta"), meta_weight, None, stride, padding, dilation).shape
    if padding == "same":
        padding = [step * (side - 1) // 2 for step, side in zip(_pair(dilation), kernel, strict=True)]
    cells = _pooled_means(mean, kernel, stride, 0 if padding == "valid" else padding, dilation, shape)
    return cells.expand(-1, len(weight), -1, -1)


def _convolution_1d(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Tensor:
    if weight.shape[1] * groups == 1:
        # A convolution over the channels of a gate (efficient channel attention). All channels are equal.
        return x
    stride, padding, dilation = (
        setting if isinstance(setting, str) else _pair(setting)[0] for setting in (stride, padding, dilation)
    )
    around = padding if isinstance(padding, str) else (0, padding)
    cells = _convolution(x[:, :, None], weight[:, :, None], bias, (1, stride), around, (1, dilation), groups)
    return cells[:, :, 0]


def _pooling(
    x: Tensor,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
    **_: Any,
) -> Tensor:
    shape = F.max_pool2d(x[:1, :1].to("meta"), kernel_size, stride or None, padding, dilation, ceil_mode).shape
    if x.ndim == 4 and x.stride(1) == 0:
        means = _pooled_means(x[:, :1], kernel_size, stride or kernel_size, padding, dilation, shape)
        return means.expand(-1, x.shape[1], -1, -1)
    return _pooled_means(x, kernel_size, stride or kernel_size, padding, dilation, shape)


def _average_pooling(
    x: Tensor, kernel_size: Any, stride: Any = None, padding: Any = 0, ceil_mode: bool = False, *_: Any, **__: Any
) -> Tensor:
    return _pooling(x, kernel_size, stride, padding, ceil_mode=ceil_mode)


def _adaptive_pooling(x: Tensor, output_size: Any, *_: Any, **__: Any) -> Tensor:
    means = F.adaptive_avg_pool2d(x, output_size)
    return _of_whole_map(x, means) if means.shape[-2:] == (1, 1) else means


def _mean(x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    means = torch.mean(x, *args, **kwargs)
    dims = kwargs.get("dim", args[0] if args else None)
    if x.ndim == 4 and isinstance(dims, list | tuple) and sorted(dim % 4 for dim in dims) in ([1, 2], [2, 3]):
        return _of_whole_map(x, means)
    return means


def _of_whole_map(x: Tensor, means: Tensor) -> Tensor:
    return torch.full_like(means, math.nan) if isinstance(x, MeanPropagation) and x.gated else means


def _pooled_means(x: Tensor, kernel: Any, stride: Any, padding: Any, dilation: Any, shape: Sequence[int]) -> Tensor:
    """Average the cells under each position of a kernel, on a map that is extrapolated beyond its border.

    Args:
        x: (B, C, h, w), the map.
        kernel: (height, width) of the kernel in cells, or one number for both.
        stride: (along y, along x) in cells, or one number for both.
        padding: (along y, along x) in cells, or one number for both.
        dilation: (along y, along x) in cells, or one number for both.
        shape: the shape of the result. Only its last two numbers are used: how many positions the kernel takes along y
            and along x.

    Returns:
        (B, C, *shape[2:]).
    """
    kernel, stride, padding, dilation = (_pair(setting) for setting in (kernel, stride, padding, dilation))
    for axis in (0, 1):
        needed = (shape[axis + 2] - 1) * stride[axis] + dilation[axis] * (kernel[axis] - 1) + 1
        x = _continued(x, axis + 2, padding[axis], needed - padding[axis] - x.shape[axis + 2])
    if kernel == (1, 1):
        return x[:, :, :: stride[0], :: stride[1]]
    weight = torch.full((1, 1, *kernel), 1 / math.prod(kernel), dtype=x.dtype)
    means = F.conv2d(x.flatten(0, 1)[:, None], weight, None, stride, 0, dilation)
    return means.reshape(*x.shape[:2], *means.shape[2:])


def _padding(x: Tensor, pad: Sequence[int], mode: str = "constant", *args: Any, **kwargs: Any) -> Tensor:
    """Return the stand-in for `F.pad`: the map is extrapolated, except along channels that are added.

    The dimensions that follow the first one are those of (B, C, h, w), (B, h, w, C) or (B, cells, C).
    """
    if mode != "constant":
        return F.pad(x, pad, mode, *args, **kwargs)
    for number in range(len(pad) // 2):
        x = _continued(x, x.ndim - 1 - number, *pad[2 * number : 2 * number + 2])
    return x


def _continued(x: Tensor, axis: int, before: int, after: int) -> Tensor:
    """Extend a map along dimension `axis` by linear extrapolation.

    The map grows by `before` cells at the start and by `after` cells at the end; negative numbers crop the map.
    """
    if before <= 0 and after <= 0:
        return x.narrow(axis, -before, x.shape[axis] + before + after)
    last = x.shape[axis] - 1
    number = torch.arange(-before, last + 1 + after)
    start = number.clamp(0, max(last - 1, 0))
    share = (number - start).to(x.dtype).reshape([-1] + [1] * (x.ndim - 1 - axis))
    left, right = x.index_select(axis, start), x.index_select(axis, (start + 1).clamp(max=last))
    return left + share * (right - left)


def _pair(setting: Any) -> tuple[int, int]:
    values = [setting] if isinstance(setting, int) else list(setting)
    return values[0], values[-1]


# Functions of two maps or more that sum products of their values.
PRODUCTS = set(
    "matmul rmatmul bmm mm mv dot baddbmm addmm addbmm einsum tensordot "
    "scaled_dot_product_attention multi_head_attention_forward".split()
)
# The functions that replace torch's functions and methods. The keys are the names of the replaced ones, without leading
# and trailing underscores.
STAND_INS: dict[str, Callable[..., Tensor]] = {
    "conv1d": _convolution_1d,
    "conv2d": _convolution,
    "linear": _linear,
    "max_pool2d": _pooling,
    "avg_pool2d": _average_pooling,
    "adaptive_max_pool2d": _adaptive_pooling,
    "amax": torch.mean,
    "cat": _concatenated,
    "concat": _concatenated,
    "adaptive_avg_pool2d": _adaptive_pooling,
    "mean": _mean,
    "pad": _padding,
    "view": Tensor.reshape,  # the stand-in for `contiguous` leaves the memory as it is
}
STAND_INS |= dict.fromkeys(
    "add radd iadd sub rsub isub subtract mul rmul imul multiply div rdiv idiv divide truediv rtruediv itruediv "
    "true_divide addcmul addcdiv pow rpow maximum minimum".split(),
    _combined,
)
STAND_INS |= dict.fromkeys("sigmoid hardsigmoid softmax".split(), _factor)
STAND_INS |= dict.fromkeys("zeros_like ones_like empty_like full_like rand_like randn_like".split(), _nowhere)
# The following functions leave the centre of each cell where it is. expand and expand_as act on gates. A gate must stay
# smaller than a map, so that `_combined` recognises it; expand and expand_as would enlarge it.
STAND_INS |= dict.fromkeys(
    "batch_norm layer_norm group_norm instance_norm rms_norm local_response_norm normalize "
    "relu relu6 leaky_relu prelu rrelu elu selu celu gelu silu mish softplus softsign logsigmoid tanh "
    "hardtanh hardswish clamp clamp_min clamp_max sqrt rsqrt square exp abs neg contiguous clone "
    "dropout dropout2d alpha_dropout feature_dropout to type type_as float double half "
    "expand expand_as".split(),
    _same,
)
