"""Means of the cells under convolutions and poolings, on maps that are extrapolated beyond their borders."""

import math
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from hypercolumns.models.backbones.stand_in._maps import once, spread


def convolve(mean: Tensor, weight: Tensor, stride: Any = 1, padding: Any = 0, dilation: Any = 1) -> Tensor:
    """Average the cells under each position of a convolution's kernel.

    Args:
        mean: (B, 1, h, w), the mean of the channels of a map.
        weight: the weight of the convolution. Only its shape is used.
        stride: as in `F.conv2d`, and so are the next two.
        padding: see `stride`.
        dilation: see `stride`.

    Returns:
        (B, C, h', w').
    """
    kernel = (weight.shape[2], weight.shape[3])
    counts = None
    if padding == "same":
        padding = [step * (side - 1) // 2 for step, side in zip(_pair(dilation), kernel, strict=True)]
        counts = tuple(mean.shape[2:])
    settings = kernel, stride, 0 if padding == "valid" else padding, dilation
    means = pooled_means(mean, *settings, counts=counts)
    return spread(means, (means.shape[0], len(weight), *means.shape[2:]))


def convolve_transposed(
    mean: Tensor, weight: Tensor, stride: Any, padding: Any, output_padding: Any, groups: int, dilation: Any
) -> Tensor:
    """Average the cells whose values a transposed convolution adds up in each cell of its result.

    Args:
        mean: (B, 1, h, w), the mean of the channels of a map.
        weight: the weight of the convolution. Only its shape is used.
        stride: as in `F.conv_transpose2d`, and so are the next four.
        padding: see `stride`.
        output_padding: see `stride`.
        groups: see `stride`.
        dilation: see `stride`.

    Returns:
        (B, C, h', w').
    """
    kernel = (weight.shape[2], weight.shape[3])
    stride, padding, output_padding, dilation = map(_pair, (stride, padding, output_padding, dilation))
    steps, starts, counts = [], [], []
    for axis in (0, 1):
        reach = dilation[axis] * (kernel[axis] - 1)
        steps.append(1 + max(reach, output_padding[axis]) // stride[axis])  # cells beyond the border with influence
        starts.append(steps[axis] * stride[axis] + padding[axis])
        growth = reach + output_padding[axis] + 1 - 2 * padding[axis]
        counts.append((mean.shape[axis + 2] - 1) * stride[axis] + growth)
        mean = continued(mean, axis + 2, steps[axis], steps[axis])
    ones = torch.ones(1, 1, *kernel, dtype=mean.dtype)
    sums, terms = (F.conv_transpose2d(x, ones, None, stride, 0, 0, 1, dilation) for x in (mean, torch.ones_like(mean)))
    means = (sums / terms).narrow(2, starts[0], counts[0]).narrow(3, starts[1], counts[1])
    return spread(means, (means.shape[0], weight.shape[1] * groups, *means.shape[2:]))


def pooled_means(
    x: Tensor,
    kernel: Any,
    stride: Any,
    padding: Any,
    dilation: Any,
    ceil_mode: bool = False,
    counts: Sequence[int] | None = None,
) -> Tensor:
    """Average the cells under each position of a kernel, on a map that is extrapolated beyond its border.

    Args:
        x: (..., h, w), the map.
        kernel: (height, width) of the kernel in cells, or one number for both.
        stride: (along y, along x) in cells, or one number for both.
        padding: (along y, along x) in cells, or one number for both.
        dilation: (along y, along x) in cells, or one number for both.
        ceil_mode: whether the last position may begin inside the map and end beyond the padding.
        counts: how many positions the kernel takes along y and along x; None: as many as fit.

    Returns:
        (..., h', w').

    Raises:
        ValueError: if the kernel is larger than the map with its padding.
    """
    kernel, stride, padding, dilation = map(_pair, (kernel, stride, padding, dilation))
    for axis in (0, 1):
        dim = x.ndim - 2 + axis
        side, reach = x.shape[dim], dilation[axis] * (kernel[axis] - 1)
        if counts is None:
            free = side + 2 * padding[axis] - reach - 1
            count = (math.ceil if ceil_mode else math.floor)(free / stride[axis]) + 1
            if ceil_mode and (count - 1) * stride[axis] >= side + padding[axis]:
                count -= 1
        else:
            count = counts[axis]
        if count < 1:
            raise ValueError(f"a kernel of {kernel[axis]} cells is larger than its map of {side} cells")
        needed = (count - 1) * stride[axis] + reach + 1
        x = continued(x, dim, padding[axis], needed - padding[axis] - side)
        index = [slice(None)] * dim
        last = (count - 1) * stride[axis] + 1
        starts = range(0, reach + 1, dilation[axis])
        cells = [x[(*index, slice(start, start + last, stride[axis]))] for start in starts]
        x = sum(cells[1:], cells[0])
        x = x / len(cells) if len(cells) > 1 else x
    return x


def pad(x: Tensor, pad: Sequence[int], mode: str = "constant", *args: Any, **kwargs: Any) -> Tensor:
    """Return the stand-in for `F.pad`: the map is extrapolated, except along channels that are added.

    Args:
        x: the map. The dimensions that follow the first one are those of (B, C, h, w), (B, h, w, C) or (B, cells, C).
        pad: as in `F.pad`, and so are the following arguments.
        mode: see `pad`.
        args: see `pad`.
        kwargs: see `pad`.

    Returns:
        The larger map.
    """
    if mode != "constant":
        return F.pad(x, pad, mode, *args, **kwargs)
    for number in range(len(pad) // 2):
        x = continued(x, x.ndim - 1 - number, *pad[2 * number : 2 * number + 2])
    return x


def continued(x: Tensor, axis: int, before: int, after: int) -> Tensor:
    """Extend a map along dimension `axis` by linear extrapolation.

    Args:
        x: the map.
        axis: the dimension, from 0.
        before: by how many cells the map grows at its start. A negative number crops the map.
        after: by how many cells the map grows at its end, in the same way.

    Returns:
        The larger or smaller map.
    """
    if before == after == 0:
        return x

    def extend(cells: Tensor) -> Tensor:
        side = cells.shape[axis]
        inner = cells.narrow(axis, max(-before, 0), side + min(before, 0) + min(after, 0))
        ends = [(0, min(1, side - 1), before), (side - 1, max(side - 2, 0), after)]
        start, end = (_extrapolated(cells, axis, *each) for each in ends)
        return torch.cat([*([start.flip(axis)] if before > 0 else []), inner, *([end] if after > 0 else [])], axis)

    return once(extend, x, axis)


def _extrapolated(x: Tensor, axis: int, last: int, inner: int, count: int) -> Tensor:
    """Return `count` cells beyond cell `last` of a map along an axis. `inner` is the cell before the last one."""
    border = x.narrow(axis, last, 1)
    number = torch.arange(1, max(count, 0) + 1, dtype=x.dtype).reshape([-1] + [1] * (x.ndim - 1 - axis))
    return border + number * (border - x.narrow(axis, inner, 1))


def _pair(setting: Any) -> tuple[int, int]:
    values = [setting] if isinstance(setting, int) else list(setting)
    return values[0], values[-1]
