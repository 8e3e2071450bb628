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

from hypercolumns.models.backbones import _stand_in_layers as layers

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
    return [each if number == kept else _scaled(each, OTHER_PATH) for number, each in enumerate(maps)]


class MeanPropagation(Tensor):
    """A map inside the stand-in for the network.

    If a function of torch is called on the map, its replacement in `STAND_INS` runs instead. Reshaping, concatenation,
    interpolation and similar functions have no replacement. They run unchanged, because they only move or average
    values. Parameters have no place in the image. They are 0 if they become a part of a map.
    """

    gated = False  # whether the value of a cell includes the cell's gate, see `GatedMeanPropagation`
    # The maps (B, C, h, w) of which the map is concatenated along the channels, if their values are not copied. Most
    # layers read only the mean of the channels.
    parts: Sequence[Tensor] | None = None
    thin: Tensor | None = None  # see `_stand_in_layers`

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
            args, named = _mapped(whole, args), _mapped(whole, named)
        stand_in: Callable[..., Any]
        if name in PRODUCTS or name in MOVES:
            stand_in = functools.partial(_product if name in PRODUCTS else _moved, func)
        elif name in STAND_INS:
            stand_in = STAND_INS[name]
        else:
            stand_in, args, named = func, _without_parameters(args), _without_parameters(named)
        with torch._C.DisableTorchFunctionSubclass():
            return _mapped(cls._of, stand_in(*args, **named))

    @classmethod
    def _of(cls, result: Tensor) -> Tensor:
        """Return the result of a function as a map of this class, which knows along which dimensions it repeats."""
        if isinstance(result, cls):
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


def _scaled(x: Tensor, share: float) -> Tensor:
    if getattr(x, "parts", None) is not None:
        return _joined([_scaled(part, share) for part in x.parts])  # type: ignore[attr-defined]
    return layers.spread(layers.thin(x) * share, x.shape)


def _factor(x: Tensor, *_: Any, **__: Any) -> Tensor:
    return _scaled(x, FACTOR)


def _moved(func: Any, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    """Return the stand-in for a function that only changes the order of the dimensions of a map."""
    moved: Tensor = func(x, *args, **kwargs)
    moved.thin = func(layers.thin(x), *args, **kwargs)  # type: ignore[attr-defined]
    return moved


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
        return layers.spread(_channel_mean(x, x.ndim - 1), (*x.shape[:-1], weight.shape[-1]))

    def on_meta(tensor: Tensor) -> Tensor:
        return tensor.to("meta", torch.float32 if tensor.is_floating_point() else tensor.dtype)

    results = func(*_mapped(on_meta, args), **_mapped(on_meta, kwargs))
    value = math.nan if maps[0].gated else 0.0
    return _mapped(lambda result: torch.full((), value, dtype=torch.float64).expand(result.shape), results)


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
    return layers.spread(functools.reduce(torch.add, map(layers.thin, _weighted(counted))), shape)


def _concatenated(maps: Sequence[Tensor], dim: int = 0, **settings: Any) -> Tensor:
    parts = _weighted([part if isinstance(part, MeanPropagation) else _without_parameters(part) for part in maps])
    if settings or dim not in (1, -3) or any(part.ndim != 4 for part in parts):
        return torch.cat([whole(part) for part in parts], dim, **settings)
    return _joined(parts)


def _joined(parts: Sequence[Tensor]) -> Tensor:
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
    """Return a map with values in place of a map that only notes the parts of which it is concatenated."""
    parts: Any = getattr(x, "parts", None)
    if parts is None:
        return x
    if len(parts) > 1:
        # The values become the only part, so that a later change of them in place changes the map.
        x.parts = parts = [torch.cat([part.as_subclass(Tensor) for part in parts], 1)]  # type: ignore[attr-defined]
    only: Tensor = parts[0].as_subclass(type(x))
    return only


def _by_part(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Return a function of maps that also runs on each part of concatenated maps. It must not mix channels."""

    @functools.wraps(function)
    def apply(x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        parts = getattr(x, "parts", None)
        if parts is None:
            return function(x, *args, **kwargs)
        return _joined([function(part, *args, **kwargs) for part in parts])

    return apply


def _channel_mean(x: Tensor, dim: int) -> Tensor:
    """Return the mean along a dimension, which stays with the length 1."""
    parts = getattr(x, "parts", None)
    if parts is not None:
        shares = [_channel_mean(part, dim) * (part.shape[dim] / x.shape[dim]) for part in parts]
        return sum(shares[1:], shares[0])
    values = layers.thin(x)
    values = values if values.shape[dim] == 1 else values.mean(dim, keepdim=True)
    return values.expand(*x.shape[:dim], 1, *x.shape[dim + 1 :])


def _linear(x: Tensor, weight: Tensor, *_: Any, **__: Any) -> Tensor:
    return layers.spread(_channel_mean(x, x.ndim - 1), (*x.shape[:-1], len(weight)))


def _convolution(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Tensor:
    # All channels of the result are equal, so `groups` makes no difference.
    return layers.convolve(_channel_mean(x, 1), weight, stride, padding, dilation)


def _convolution_transposed(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    output_padding: Any = 0,
    groups: int = 1,
    dilation: Any = 1,
) -> Tensor:
    return layers.convolve_transposed(_channel_mean(x, 1), weight, stride, padding, output_padding, groups, dilation)


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
        setting if isinstance(setting, int | str) else setting[0] for setting in (stride, padding, dilation)
    )
    around = padding if isinstance(padding, str) else (0, padding)
    cells = _convolution(x[:, :, None], weight[:, :, None], bias, (1, stride), around, (1, dilation), groups)
    return cells[:, :, 0]


def _reshaped(x: Tensor, *shape: Any) -> Tensor:
    """Reshape a map. Equal channels take no memory if they remain the last or second dimension."""
    if not x.numel() or isinstance(shape[0], torch.dtype):
        return x.reshape(*shape)
    sides = list(shape[0]) if isinstance(shape[0], Sequence) else list(shape)
    known = math.prod(side for side in sides if side != -1)
    sides = [x.numel() // known if side == -1 else side for side in sides]
    values = layers.thin(x)
    if sides[-1] == x.shape[-1] and values.shape[-1] == 1:
        values = values.expand(*x.shape[:-1], 1)
        return layers.spread(values.reshape(*sides[:-1], 1), sides)
    if x.ndim > 1 and sides[:2] == [*x.shape[:2]] and values.shape[1] == 1:
        values = values.expand(x.shape[0], 1, *x.shape[2:])
        return layers.spread(values.reshape(sides[0], 1, *sides[2:]), sides)
    return x.reshape(sides)


def _flattened(x: Tensor, start_dim: int = 0, end_dim: int = -1) -> Tensor:
    start, end = start_dim % x.ndim, end_dim % x.ndim
    return _reshaped(x, *x.shape[:start], math.prod(x.shape[start : end + 1]), *x.shape[end + 1 :])


def _interpolated(x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    return layers.once(lambda cells: F.interpolate(cells, *args, **kwargs), x, *range(2, x.ndim))


def _rolled(x: Tensor, shifts: Any, dims: Any = None) -> Tensor:
    if dims is None:
        return torch.roll(x, shifts)
    return layers.once(lambda cells: torch.roll(cells, shifts, dims), x)


def _adaptive_pooling(x: Tensor, output_size: Any, *_: Any, **__: Any) -> Tensor:
    means = layers.once(lambda cells: F.adaptive_avg_pool2d(cells, output_size), x, x.ndim - 2, x.ndim - 1)
    return _of_whole_map(x, means) if means.shape[-2:] == (1, 1) else means


def _mean(x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    means = torch.mean(x, *args, **kwargs)
    dims = kwargs.get("dim", args[0] if args else None)
    if x.ndim == 4 and isinstance(dims, list | tuple) and sorted(dim % 4 for dim in dims) in ([1, 2], [2, 3]):
        return _of_whole_map(x, means)
    return means


def _of_whole_map(x: Tensor, means: Tensor) -> Tensor:
    return torch.full_like(means, math.nan) if isinstance(x, MeanPropagation) and x.gated else means


# Functions of two maps or more that sum products of their values.
PRODUCTS = set(
    "matmul rmatmul bmm mm mv dot baddbmm addmm addbmm einsum tensordot "
    "scaled_dot_product_attention multi_head_attention_forward".split()
)
MOVES = set("permute transpose swapaxes swapdims movedim unsqueeze".split())
# The functions that replace torch's functions and methods. The keys are the names of the replaced ones, without leading
# and trailing underscores.
STAND_INS: dict[str, Callable[..., Tensor]] = {
    "conv1d": _convolution_1d,
    "conv2d": _convolution,
    "conv_transpose2d": _convolution_transposed,
    "linear": _linear,
    "max_pool2d": _by_part(layers.pool),
    "avg_pool2d": _by_part(layers.pool_average),
    "adaptive_max_pool2d": _adaptive_pooling,
    "amax": torch.mean,
    "cat": _concatenated,
    "concat": _concatenated,
    "adaptive_avg_pool2d": _adaptive_pooling,
    "mean": _mean,
    "pad": layers.pad,
    "interpolate": _interpolated,
    "roll": _rolled,
    "flatten": _flattened,
    "reshape": _reshaped,
    "view": _reshaped,  # the stand-in for `contiguous` leaves the memory as it is
}
STAND_INS |= dict.fromkeys(
    "add radd iadd sub rsub isub subtract mul rmul imul multiply div rdiv idiv divide truediv rtruediv itruediv "
    "true_divide addcmul addcdiv pow rpow maximum minimum".split(),
    _combined,
)
STAND_INS |= dict.fromkeys("sigmoid hardsigmoid softmax".split(), _by_part(_factor))
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
# The functions that take maps with `MeanPropagation.parts`, and the attributes that are right on such maps.
TAKES_PARTS = {"cat", "concat", "conv2d", "conv_transpose2d", "max_pool2d", "avg_pool2d", "sigmoid", "size", "dim"} | {
    name for name, stand_in in STAND_INS.items() if stand_in is _same
}
METADATA = {"shape", "ndim", "dtype", "device", "is_cuda", "is_meta", "requires_grad"}
