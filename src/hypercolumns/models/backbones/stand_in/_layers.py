"""What replaces the functions of one map in the stand-in for a network."""

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from hypercolumns.models.backbones.stand_in import _means
from hypercolumns.models.backbones.stand_in._maps import StandInMap, by_part, channel_mean, once, scaled, spread, thin

# How much the result of a sigmoid counts beside other maps. It is usually a factor of features, and these say where the
# product lies. Where there are no such features, it is the only one that counts.
FACTOR = 1e-9


def _same(x: Tensor, *_: Any, **__: Any) -> Tensor:
    return x


def _factor(x: Tensor, *_: Any, **__: Any) -> Tensor:
    return scaled(x, FACTOR)


def _nowhere(x: Tensor, *_: Any, **__: Any) -> Tensor:
    return torch.zeros_like(x)


def _linear(x: Tensor, weight: Tensor, *_: Any, **__: Any) -> Tensor:
    return spread(channel_mean(x, x.ndim - 1), (*x.shape[:-1], len(weight)))


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
    return _means.convolve(channel_mean(x, 1), weight, stride, padding, dilation)


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
    return _means.convolve_transposed(channel_mean(x, 1), weight, stride, padding, output_padding, groups, dilation)


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
    """Reshape a map. Equal channels take no memory if they remain the last or second dimension.

    A gate that should have been expanded stays one number an image.
    """
    if not x.numel() or isinstance(shape[0], torch.dtype):
        return x.reshape(*shape)
    sides = list(shape[0]) if isinstance(shape[0], Sequence) else list(shape)
    if -1 not in sides and math.prod(sides) > x.numel():
        return x.flatten(1).mean(1).reshape([-1] + [1] * (len(sides) - 1))
    known = math.prod(side for side in sides if side != -1)
    sides = [x.numel() // known if side == -1 else side for side in sides]
    values = thin(x)
    if sides[-1] == x.shape[-1] and values.shape[-1] == 1:
        values = values.expand(*x.shape[:-1], 1)
        return spread(values.reshape(*sides[:-1], 1), sides)
    if x.ndim > 1 and sides[:2] == [*x.shape[:2]] and values.shape[1] == 1:
        values = values.expand(x.shape[0], 1, *x.shape[2:])
        return spread(values.reshape(sides[0], 1, *sides[2:]), sides)
    return x.reshape(sides)


def _flattened(x: Tensor, start_dim: int = 0, end_dim: int = -1) -> Tensor:
    start, end = start_dim % x.ndim, end_dim % x.ndim
    return _reshaped(x, *x.shape[:start], math.prod(x.shape[start : end + 1]), *x.shape[end + 1 :])


def _interpolated(x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    return once(lambda cells: F.interpolate(cells, *args, **kwargs), x, *range(2, x.ndim))


def _rolled(x: Tensor, shifts: Any, dims: Any = None) -> Tensor:
    if dims is None:
        return torch.roll(x, shifts)
    return once(lambda cells: torch.roll(cells, shifts, dims), x)


def _moved(func: Any, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    """Return the stand-in for a function that only changes the order of the dimensions of a map."""
    moved: Tensor = func(x, *args, **kwargs)
    moved.thin = func(thin(x), *args, **kwargs)  # type: ignore[attr-defined]
    return moved


def _adaptive_pooling(x: Tensor, output_size: Any, *_: Any, **__: Any) -> Tensor:
    averages = once(lambda cells: F.adaptive_avg_pool2d(cells, output_size), x, x.ndim - 2, x.ndim - 1)
    return _of_whole_map(x, averages) if averages.shape[-2:] == (1, 1) else averages


def _mean(x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    averages = torch.mean(x, *args, **kwargs)
    dims = kwargs.get("dim", args[0] if args else None)
    if x.ndim == 4 and isinstance(dims, list | tuple) and sorted(dim % 4 for dim in dims) in ([1, 2], [2, 3]):
        return _of_whole_map(x, averages)
    return averages


def _of_whole_map(x: Tensor, averages: Tensor) -> Tensor:
    return torch.full_like(averages, math.nan) if isinstance(x, StandInMap) and x.gated else averages


def _pool(
    x: Tensor,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
    **_: Any,
) -> Tensor:
    settings = kernel_size, stride or kernel_size, padding, dilation, ceil_mode
    return once(lambda cells: _means.pooled_means(cells, *settings), x, x.ndim - 2, x.ndim - 1)


def _pool_average(
    x: Tensor, kernel_size: Any, stride: Any = None, padding: Any = 0, ceil_mode: bool = False, *_: Any, **__: Any
) -> Tensor:
    return _pool(x, kernel_size, stride, padding, ceil_mode=ceil_mode)


# The following functions leave the centre of each cell where it is. expand and expand_as act on gates. A gate must stay
# smaller than a map, so that the stand-in for sums recognises it; expand and expand_as would enlarge it.
SAME = set(
    "batch_norm layer_norm group_norm instance_norm rms_norm local_response_norm normalize "
    "relu relu6 leaky_relu prelu rrelu elu selu celu gelu silu mish softplus softsign logsigmoid tanh "
    "hardtanh hardswish clamp clamp_min clamp_max sqrt rsqrt square exp abs neg contiguous clone "
    "dropout dropout2d alpha_dropout feature_dropout to type type_as float double half "
    "expand expand_as".split()
)
STAND_INS: dict[str, Callable[..., Tensor]] = {
    "conv1d": _convolution_1d,
    "conv2d": _convolution,
    "conv_transpose2d": _convolution_transposed,
    "linear": _linear,
    "max_pool2d": by_part(_pool),
    "avg_pool2d": by_part(_pool_average),
    "adaptive_max_pool2d": _adaptive_pooling,
    "adaptive_avg_pool2d": _adaptive_pooling,
    "amax": torch.mean,
    "mean": _mean,
    "pad": _means.pad,
    "interpolate": _interpolated,
    "roll": _rolled,
    "flatten": _flattened,
    "reshape": _reshaped,
    "view": _reshaped,  # the stand-in for `contiguous` leaves the memory as it is
}
STAND_INS |= dict.fromkeys("sigmoid hardsigmoid softmax".split(), by_part(_factor))
STAND_INS |= dict.fromkeys("zeros_like ones_like empty_like full_like rand_like randn_like".split(), _nowhere)
STAND_INS |= dict.fromkeys(SAME, _same)
STAND_INS |= {
    name: functools.partial(_moved, getattr(Tensor, name))
    for name in "permute transpose swapaxes swapdims movedim unsqueeze".split()
}
