"""Measure the centres and extents of the receptive fields of a map's cells, on a stand-in for the network.

The stand-in replaces every operation of the network by the unweighted mean of the operation's inputs. If the value of
each pixel is the pixel's coordinate, the value of each cell is therefore the coordinate of the centre of the cell's
receptive field. The values of the weights are not needed, so the network can be on the meta device.
"""

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.fx import GraphModule
from torch.fx.passes.shape_prop import ShapeProp

from hypercolumns.errors import HypercolumnsError
from hypercolumns.io.decoding import RGB
from hypercolumns.models.taps import CellGrid, RegularGrid

# Lengths in pixels of the two thin images on which the centres are measured. If the first length is halved again and
# again, the results are even; if the second one is, with rounding up, they are odd. If the network's padding depends on
# the image's size, the two images therefore give different centres.
PROBE_SIDES = (256, 513)
# Lengths in pixels of images for measuring extents and shift periods. They differ by multiples of all usual strides.
LONG_PROBE_SIDES = (256, 1280, 4352)
THICKNESS = 32  # minimum width in pixels of a thin image, at right angles to its length
Maps = Callable[[Tensor], Sequence[Tensor]]  # from images (B, C, H, W) to the maps of a network on the meta device


@dataclass(frozen=True, eq=False)
class MeasuredGrid:
    """The cells of a map along one axis, if no formula gives their centres. The centres are measured.

    A pooling to a fixed number of cells, for example, makes such a map. There is one measurement for each size of the
    image along the axis, on a thin image, see `_measure`.

    Attributes:
        maps: computes the maps of all taps.
        tap: the index of the map among the results of `maps`.
        axis: 2 (y) or 3 (x), a dimension of the map.
        thickness: how many pixels a thin image has along the other axis.
        cache: the centres that have been measured, by the number of the image's pixels along the axis.
    """

    maps: Maps
    tap: int
    axis: int
    thickness: int
    cache: dict[int, Tensor] = field(default_factory=dict)

    def __deepcopy__(self, memo: dict[int, Any]) -> "MeasuredGrid":
        """Return the grid itself, because a copy would also copy the network in `maps`."""
        return self

    def centres(self, cells: int, size: int) -> Tensor:
        """Measure the centres (cells,) float64 of the cells, for an image of `size` pixels along the axis.

        Raises:
            HypercolumnsError: if the measured centres are not `cells` rising numbers.
        """
        if size not in self.cache:
            self.cache[size] = _measure(self.maps, self.thickness, self.axis, size)[self.tap]
        centres = self.cache[size]
        if len(centres) != cells or not (centres.diff() > 0).all():
            raise HypercolumnsError(
                f"the centres of the cells of tap number {self.tap + 1} can't be determined for an image with a side "
                f"of {size} pixels; choose another tap"
            )
        return centres


def cell_grids(maps: Maps, min_side: int) -> list[tuple[CellGrid, CellGrid]]:
    """Determine the centres of each map's cells along y and along x, for images of all sizes.

    Args:
        maps: computes the maps of all taps.
        min_side: the minimum height and width of an image that `maps` accepts, in pixels.

    Returns:
        For each map, its grid along y and its grid along x.

    Raises:
        ValueError: if the centres can't be measured, for example because an operation of the network mixes distant
            parts of a map, as attention does.
    """
    along_y, along_x = (_along(maps, max(min_side, THICKNESS), axis) for axis in (2, 3))
    return list(zip(along_y, along_x, strict=True))


def round_up(side: float, multiple: int) -> int:
    """Round a number of pixels up to a multiple of another one."""
    return math.ceil(side / multiple) * multiple


def shift_periods(network: GraphModule, channels: int = RGB) -> tuple[int, int]:
    """Return the shift periods of a network along y and along x, in pixels.

    The shift period along an axis is the least common multiple of the strides of all maps inside the network, tapped or
    not. If an image is shifted along the axis by a multiple of it, all these maps shift by whole cells.

    Args:
        network: the traced network, on the meta device.
        channels: the number of channels of the images.
    """
    shapes = []
    for side in LONG_PROBE_SIDES[:2]:
        ShapeProp(network).propagate(torch.empty(1, channels, side, side, device="meta"))
        metas = [node.meta.get("tensor_meta") for node in network.graph.nodes]
        shapes.append([getattr(meta, "shape", ()) for meta in metas])
    along = [1, 1]
    for short, long in zip(*shapes, strict=True):
        for axis in (2, 3):
            if len(short) == 4 and long[axis] > short[axis]:
                stride = round((LONG_PROBE_SIDES[1] - LONG_PROBE_SIDES[0]) / (long[axis] - short[axis]))
                along[axis - 2] = math.lcm(along[axis - 2], max(stride, 1))
    return along[0], along[1]


def _along(maps: Maps, thickness: int, axis: int) -> list[CellGrid]:
    """Determine the grid of each map along one axis. `_measure` explains the arguments.

    Raises:
        ValueError: if the centres can't be measured, for example because an operation of the network mixes distant
            parts of a map, as attention does.
    """
    short, long = (_measure(maps, thickness, axis, side) for side in PROBE_SIDES)
    middles = [(_middle(centres), _middle(longer)) for centres, longer in zip(short, long, strict=True)]
    lines = [line if line == same else None for line, same in middles]
    for line, centres in zip(lines, short, strict=True):
        # An operation that mixes distant parts of a map, such as attention, draws all centres towards the middle of the
        # image.
        if line is None and len(centres) > 1 and float(centres.diff().mean()) * len(centres) < 0.7 * PROBE_SIDES[0]:
            raise ValueError("an operation of the network, such as attention, mixes distant parts of a map")
    extents = _rf_extents(maps, thickness, axis, lines)
    return [
        MeasuredGrid(maps, tap, axis, thickness) if line is None else RegularGrid(*line, extent)
        for tap, (line, extent) in enumerate(zip(lines, extents, strict=True))
    ]


def _measure(maps: Maps, thickness: int, axis: int, side: int) -> list[Tensor]:
    """Measure the centres of each map's cells along one axis, on a thin image.

    Args:
        maps: computes the maps of all taps.
        thickness: how many pixels the thin image has along the other axis.
        axis: 2 (y) or 3 (x).
        side: how many pixels the thin image has along the axis.

    Returns:
        For each map, the centres (cells,) float64 in pixels.

    Raises:
        ValueError: if the stand-in for an operation of the network is not linear.
    """
    # The images have three channels for any network: the stand-in for a convolution averages the channels of its input.
    # The third image is 2 x the first image + 3 x the second image. If all operations are linear, the maps of the three
    # images have the same relation.
    ramp = torch.arange(side, dtype=torch.float64).expand(1, RGB, thickness, side)
    image = torch.cat([ramp, torch.ones_like(ramp), 2 * ramp + 3])
    with torch.no_grad():
        results = maps((image if axis == 3 else image.transpose(2, 3)).as_subclass(MeanPropagation))
    centres = []
    for cells in results:
        lines = cells.as_subclass(Tensor).transpose(axis, 3)[:, :, cells.shape[5 - axis] // 2].mean(1)
        if not torch.allclose(lines[2], 2 * lines[0] + 3 * lines[1]):
            raise ValueError(
                "the measurement replaces each operation by the mean of its inputs, and one operation does not allow "
                "this"
            )
        centres.append(lines[0] / lines[1])
    return centres


def _middle(centres: Tensor) -> tuple[float, float] | None:
    """Return (stride, offset), in pixels, of the regular grid that contains the two middle cells of a map.

    Args:
        centres: (cells,), the centres of the map's cells along one axis, in pixels.

    Returns:
        The stride and the offset; None if the map has fewer than two cells.
    """
    middle = len(centres) // 2
    if middle == 0:
        return None
    stride = float(centres[middle] - centres[middle - 1])
    return round(stride, 6), round(float(centres[middle]) - stride * middle, 6) + 0.0  # the sum turns -0.0 into 0.0


def _rf_extents(
    maps: Maps, thickness: int, axis: int, lines: Sequence[tuple[float, float] | None]
) -> list[tuple[float, float] | None]:
    """Measure the extent of the receptive field of each map's middle cell along one axis.

    The measurement uses thin images. Their lengths are `LONG_PROBE_SIDES`. A longer image is used only for maps whose
    receptive field reaches the border of the shorter ones.

    Args:
        maps: computes the maps of all taps.
        thickness: how many pixels the thin images have along the other axis.
        axis: 2 (y) or 3 (x).
        lines: the (stride, offset) of each map in pixels; None for a map that has no regular grid.

    Returns:
        For each map, (before, after): how many pixels the receptive field reaches before and after the cell's centre.
        None for a map that has no regular grid, or whose receptive field reaches the border of the longest image.

    Raises:
        ValueError: if the gradient of a cell is 0 at all pixels of the image.
    """
    extents: dict[int, tuple[float, float]] = {}
    for side in LONG_PROBE_SIDES:
        waiting = {tap: line for tap, line in enumerate(lines) if line is not None and tap not in extents}
        if not waiting:
            break
        image = torch.ones(1, RGB, *((thickness, side) if axis == 3 else (side, thickness)), dtype=torch.float64)
        results = maps(image.requires_grad_().as_subclass(GatedMeanPropagation))
        for tap, (stride, offset) in waiting.items():
            cells = results[tap].as_subclass(Tensor).transpose(axis, 3)
            middle = cells.shape[3] // 2
            cell = cells[0, :, cells.shape[2] // 2, middle].sum()
            (gradient,) = torch.autograd.grad(cell, image, retain_graph=True)
            seen = gradient.transpose(axis, 3)[0].sum((0, 1)).nonzero().flatten()
            if not len(seen):
                raise ValueError(
                    "an operation of the network, such as rounding, has no gradient, so receptive fields can't be "
                    "measured"
                )
            first, last, centre = int(seen[0]), int(seen[-1]), offset + stride * middle
            if first > 0 and last < side - 1:
                extents[tap] = round(centre - first, 6), round(last - centre, 6)
    return [extents.get(tap) for tap, _ in enumerate(lines)]


class MeanPropagation(Tensor):
    """A map inside the stand-in for the network.

    If a function of torch is called on the map, its replacement in `STAND_INS` runs instead. Reshaping, concatenation,
    interpolation and similar functions have no replacement. They run unchanged, because they only move or average
    values.
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
        stand_in = STAND_INS.get(name, func)
        return super().__torch_function__(stand_in, types, args, dict(kwargs or {}))  # type: ignore[no-untyped-call]


class GatedMeanPropagation(MeanPropagation):
    """A map inside the stand-in for the network, for measuring extents. The values of its cells include gates.

    Some networks compute a gate for each channel of a map (squeeze-and-excitation): one factor for all cells of the
    channel. A gate depends on the whole map, so a cell with a gate has the whole map as its receptive field. The base
    class leaves gates out, because a gate does not move the centre of a cell.
    """

    gated = True


def _same(x: Tensor, *_: Any, **__: Any) -> Tensor:
    return x


def _combined(*parts: Any, **_: Any) -> Tensor:
    """Return the sum of the maps among the arguments.

    The sum stands in for every function that combines maps cell by cell: sums, products, quotients, maxima and similar
    functions. Numbers and parameters among the arguments are ignored. A map with fewer values than the largest map is
    taken to be a gate, and is left out unless it is a `GatedMeanPropagation`.
    """
    maps = [part for part in parts if isinstance(part, MeanPropagation)]
    shape = torch.broadcast_shapes(*(part.shape for part in parts if isinstance(part, Tensor)))
    full_size = max(part.numel() for part in maps)
    counted = [part.expand(shape) for part in maps if part.gated or part.numel() == full_size]
    return functools.reduce(torch.add, counted)


def _linear(x: Tensor, weight: Tensor, *_: Any, **__: Any) -> Tensor:
    return x.mean(-1, keepdim=True).expand(*x.shape[:-1], len(weight))


def _convolution(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Tensor:
    mean = x.mean(1, keepdim=True)  # all channels are equal, so `groups` makes no difference
    kernel = (weight.shape[2], weight.shape[3])
    meta_weight = torch.empty(1, 1, *kernel, device="meta")
    shape = F.conv2d(mean[:1].to("meta"), meta_weight, None, stride, padding, dilation).shape
    if padding == "same":
        padding = [step * (side - 1) // 2 for step, side in zip(_pair(dilation), kernel, strict=True)]
    cells = _pooled_means(mean, kernel, stride, 0 if padding == "valid" else padding, dilation, shape)
    return cells.expand(-1, len(weight), -1, -1)


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
    return _pooled_means(x, kernel_size, stride or kernel_size, padding, dilation, shape)


def _average_pooling(
    x: Tensor, kernel_size: Any, stride: Any = None, padding: Any = 0, ceil_mode: bool = False, *_: Any, **__: Any
) -> Tensor:
    return _pooling(x, kernel_size, stride, padding, ceil_mode=ceil_mode)


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
    weight = torch.full((1, 1, *kernel), 1 / math.prod(kernel), dtype=x.dtype)
    means = F.conv2d(x.flatten(0, 1)[:, None], weight, None, stride, 0, dilation)
    return means.reshape(*x.shape[:2], *means.shape[2:])


def _padding(x: Tensor, pad: Sequence[int], *args: Any, **kwargs: Any) -> Tensor:
    if x.ndim != 4 or len(pad) > 4:
        return F.pad(x, pad, *args, **kwargs)
    for number in range(len(pad) // 2):
        x = _continued(x, 3 - number, *pad[2 * number : 2 * number + 2])
    return x


def _continued(x: Tensor, axis: int, before: int, after: int) -> Tensor:
    """Extend a map along dimension `axis` by linear extrapolation.

    The map grows by `before` cells at the start and by `after` cells at the end; negative numbers crop the map.
    """
    last = x.shape[axis] - 1
    number = torch.arange(-before, last + 1 + after)
    start = number.clamp(0, max(last - 1, 0))
    share = (number - start).to(x.dtype).reshape([-1] + [1] * (x.ndim - 1 - axis))
    left, right = x.index_select(axis, start), x.index_select(axis, (start + 1).clamp(max=last))
    return left + share * (right - left)


def _pair(setting: Any) -> tuple[int, int]:
    values = [setting] if isinstance(setting, int) else list(setting)
    return values[0], values[-1]


# The functions that replace torch's functions and methods. The keys are the names of the replaced ones, without leading
# and trailing underscores.
STAND_INS: dict[str, Callable[..., Tensor]] = {
    "conv2d": _convolution,
    "linear": _linear,
    "max_pool2d": _pooling,
    "avg_pool2d": _average_pooling,
    "adaptive_max_pool2d": F.adaptive_avg_pool2d,
    "amax": torch.mean,
    "pad": _padding,
}
STAND_INS |= dict.fromkeys(
    "add radd iadd sub rsub isub subtract mul rmul imul multiply div rdiv idiv divide truediv rtruediv itruediv "
    "true_divide addcmul addcdiv pow rpow maximum minimum".split(),
    _combined,
)
# The following functions leave the centre of each cell where it is. expand, expand_as and conv1d act on gates. A gate
# must stay smaller than a map, so that `_combined` recognises it; expand and expand_as would enlarge it. conv1d mixes
# the channels of a gate (in efficient channel attention), which makes no difference because all channels are equal.
STAND_INS |= dict.fromkeys(
    "batch_norm layer_norm group_norm instance_norm rms_norm local_response_norm normalize "
    "relu relu6 leaky_relu prelu rrelu elu selu celu gelu silu mish softplus softsign sigmoid logsigmoid tanh "
    "hardtanh hardswish hardsigmoid softmax clamp clamp_min clamp_max sqrt rsqrt square exp abs neg "
    "dropout dropout2d alpha_dropout feature_dropout to type type_as float double half "
    "expand expand_as conv1d".split(),
    _same,
)
