"""Find maps that mix distant parts of an image, by a test on values.

Some operations compute with statistics of the whole image, for example GroupNorm. A list of such operations would never
be complete. Instead, a copy of the network gets random weights, and the pixels outside a cell's receptive field change.
If the cell changes too, its receptive field is larger than was found.
"""

import copy
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from hypercolumns.io.decoding import RGB
from hypercolumns.models.backbones._extents import Maps
from hypercolumns.models.slices import round_up
from hypercolumns.models.taps import CellGrid, RegularGrid

TOLERANCE = 1e-4  # the largest change of a cell that counts as rounding, as a share of the range of its map's values
THICKNESS = 8  # minimum width in pixels of a thin image, at right angles to its length
POOL = 262147  # random numbers that fill all tensors again and again; a prime number, so that filters differ
MARGIN = 64  # minimum number of pixels on either side of the receptive fields
Axes = tuple[CellGrid, CellGrid]


def with_values(skeleton: nn.Module) -> Any:
    """Copy a network from the meta device, and fill the copy with random values that let every operation have effect.

    Parameters with one dimension, such as the weights of a normalisation or layer scales, lie from 0.5 to 1.5, because
    values near 0 would hide what they multiply. Filters keep the scale of the maps. The global random numbers do not
    change. Buffers of whole numbers are 0, so that they are valid as indices.
    """
    generator = torch.Generator().manual_seed(0)
    normal, uniform = torch.randn(POOL, generator=generator), 0.5 + torch.rand(POOL, generator=generator)
    pools = normal.repeat(2), uniform.repeat(2)  # so that most tensors are slices of a pool
    tensors = [*skeleton.parameters(), *skeleton.buffers()]
    memo = {id(tensor): _filled(number, tensor, *pools) for number, tensor in enumerate(tensors)}
    return copy.deepcopy(skeleton, memo).eval()


def _filled(number: int, tensor: Tensor, normal: Tensor, uniform: Tensor) -> Tensor:
    """Return the tensor of a number with values from a pool of random numbers, because drawing new ones takes long."""
    if not tensor.is_floating_point():
        values = torch.zeros(tensor.shape, dtype=tensor.dtype)
    else:
        pool = uniform if tensor.ndim < 2 else normal * math.sqrt(2 / max(tensor[0].numel(), 1))
        start = number * 7919 % POOL  # tensors begin at different numbers: equal ones could cancel each other
        count = start + tensor.numel()
        numbers = pool if count <= len(pool) else pool.repeat(math.ceil(count / len(pool)))
        values = numbers[start:count].reshape(tensor.shape).to(tensor.dtype, copy=True)
    return nn.Parameter(values, False) if isinstance(tensor, nn.Parameter) else values


def without_extents_of_mixing(
    maps: Maps, axes: Sequence[Axes], min_side: int, multiple: int = 1, channels: int = RGB
) -> list[Axes]:
    """Return the grids of all maps, without the extents of receptive fields that are larger than was found.

    Args:
        maps: computes the maps of all taps, by a network with values.
        axes: for each map, its grid along y and its grid along x.
        min_side: the minimum height and width of an image that `maps` accepts, in pixels.
        multiple: the sides of the images are multiples of this number of pixels.
        channels: the number of channels of the images.

    Returns:
        For each map, its grids. `rf_extent` is None if pixels outside it have an influence on the middle cell, or the
        network can't run with random values.
    """
    thickness = round_up(max(min_side, THICKNESS), multiple)
    along = []
    with torch.no_grad():
        for axis in (2, 3):
            grids = [each[axis - 2] for each in axes]
            try:
                along.append(_local(maps, grids, axis, thickness, multiple, channels))
            except Exception:  # the network may need values that it computes itself; what can't be tested has no extent
                along.append([without_extent(grid) for grid in grids])
    return list(zip(*along, strict=True))


def _local(
    maps: Maps, grids: Sequence[CellGrid], axis: int, thickness: int, multiple: int, channels: int
) -> list[CellGrid]:
    """Return the grids of all maps along one axis, without the extents that are too small.

    Args:
        maps: computes the maps of all taps, by a network with values.
        grids: the grid of each map along the axis.
        axis: 2 (y) or 3 (x).
        thickness: how many pixels the thin image has along the other axis.
        multiple: see `without_extents_of_mixing`.
        channels: the number of channels of the image.

    Returns:
        For each map, its grid.
    """
    extents = [grid.rf_extent if isinstance(grid, RegularGrid) else None for grid in grids]
    if not any(extents):
        return [*grids]
    reach = max(max(extent) for extent in extents if extent is not None)
    side = round_up(2 * (math.ceil(reach) + MARGIN), multiple)
    generator = torch.Generator().manual_seed(axis)
    image = torch.randn((1, channels, thickness, side), generator=generator)
    with _SetStatistics():
        before = _lines(maps, image, axis)
    seen = torch.zeros(side, dtype=torch.bool)
    for grid, extent, line in zip(grids, extents, before, strict=True):
        if extent is not None:
            centre = float(grid.centres(line.shape[1], side)[line.shape[1] // 2])
            seen[max(math.ceil(centre - extent[0]), 0) : math.floor(centre + extent[1]) + 1] = True
    image[..., ~seen] = 3 + 5 * torch.randn((1, channels, thickness, int((~seen).sum())), generator=generator)
    after = _lines(maps, image, axis)
    return [
        without_extent(grid) if _changes(line, changed) else grid
        for grid, line, changed in zip(grids, before, after, strict=True)
    ]


def without_extent(grid: CellGrid) -> CellGrid:
    """Return a grid whose cells may see the whole image."""
    return replace(grid, rf_extent=None) if isinstance(grid, RegularGrid) else grid


def _lines(maps: Maps, image: Tensor, axis: int) -> list[Tensor]:
    """Return the line (C, cells) in the middle of each map of a thin image (1, N, thickness, side) along an axis."""
    results = maps(image if axis == 3 else image.transpose(2, 3).contiguous())
    return [cells.transpose(axis, 3)[0, :, cells.shape[5 - axis] // 2] for cells in results]


def _changes(before: Tensor, after: Tensor) -> bool:
    """Return whether the middle cell of a line (C, cells) changes by more than rounding."""
    middle = before.shape[1] // 2
    change = (after[:, middle] - before[:, middle]).abs().max()
    return not bool(change <= TOLERANCE * (before.max() - before.min()))  # also true if a value is not finite


class _SetStatistics(TorchFunctionMode):
    """Set the statistics of each BatchNorm layer to those of its input, before the layer runs.

    With other statistics, the maps of a deep network with random weights would grow or vanish.
    """

    def __torch_function__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Call a function of torch; set the running statistics before, if the function is `batch_norm`.

        Args:
            func: the function of torch that was called.
            types: the tensor types among the arguments.
            args: the positional arguments of the call.
            kwargs: the keyword arguments of the call.

        Returns:
            The result of the call.
        """
        if func is F.batch_norm:
            self._set(*args, **(kwargs or {}))
        return func(*args, **(kwargs or {}))

    @staticmethod
    def _set(x: Tensor, running_mean: Tensor | None, running_var: Tensor | None, *_: Any, **__: Any) -> None:
        if running_mean is not None and running_var is not None:
            dims = [0, *range(2, x.ndim)]
            mean, square = x.mean(dims), x.square().mean(dims)  # much faster than `torch.var_mean`
            var = square - mean.square()
            running_mean.copy_(mean)
            running_var.copy_(torch.where(var > 1e-5 * square, var, torch.ones_like(var)))  # one cell has no variance
