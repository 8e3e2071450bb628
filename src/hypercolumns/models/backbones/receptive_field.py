"""Centres and extents of the receptive fields of a map's cells, measured on a stand-in for the network.

In the stand-in, every layer takes the unweighted mean of its inputs. If the value of each pixel is the pixel's
coordinate, the value of each cell is therefore the coordinate of the centre of the cell's receptive field. The values
of the weights are not needed, so the network may be on the meta device.
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
from hypercolumns.models.taps import CellGrid, RegularGrid

# Lengths in pixels of the thin images on which the centres are measured. Halved again and again (and rounded up), the
# first length stays even and the second odd. This exposes padding that depends on the image's size.
PROBE_SIDES = (256, 513)
LONG_PROBE_SIDES = (256, 1280, 4352)  # for extents and shift periods; differences are multiples of all usual strides
THICKNESS = 32  # pixels of a thin image across its length
Maps = Callable[[Tensor], Sequence[Tensor]]  # images (B, 3, H, W) to the maps of a network on the meta device


@dataclass(frozen=True, eq=False)
class MeasuredGrid:
    """Cells whose centres along one axis are measured for each image size, as for a pooling to a fixed grid.

    Attributes:
        maps: computes the maps.
        tap: the index of the map among the results of `maps`.
        axis: 2 (y) or 3 (x), a dimension of the map.
        thickness: how many pixels the thin images have across the axis.
        cache: the measured centres for each image size along the axis, in pixels.
    """

    maps: Maps
    tap: int
    axis: int
    thickness: int
    cache: dict[int, Tensor] = field(default_factory=dict)

    def __deepcopy__(self, memo: dict[int, Any]) -> "MeasuredGrid":
        """Return the grid itself; a copy would copy the network in `maps` too."""
        return self

    def centres(self, cells: int, size: int) -> Tensor:
        """See `CellGrid`.

        Raises:
            HypercolumnsError: if the measured centres are not `cells` rising numbers.
        """
        if size not in self.cache:
            self.cache[size] = _measure(self.maps, self.thickness, self.axis, size)[self.tap]
        centres = self.cache[size]
        if len(centres) != cells or not (centres.diff() > 0).all():
            raise HypercolumnsError(
                f"the centres of a tap's cells can't be determined for an image with a side of {size} pixels; "
                f"choose another tap"
            )
        return centres


def cell_grids(maps: Maps, min_side: int) -> list[tuple[CellGrid, CellGrid]]:
    """Determine the centres of each map's cells along y and along x, for images of all sizes.

    Args:
        maps: computes the maps.
        min_side: the minimum height and width of an image that `maps` accepts.

    Returns:
        The grids along y and x, one pair for each map.
    """
    along_y, along_x = (_along(maps, max(min_side, THICKNESS), axis) for axis in (2, 3))
    return list(zip(along_y, along_x, strict=True))


def shift_periods(network: GraphModule) -> tuple[int, int]:
    """Return the least common multiple of the strides of all maps inside the network, along y and x, in pixels.

    If an image is shifted by a multiple of this number, all these maps shift by whole cells.

    Args:
        network: the traced network, on the meta device.
    """
    shapes = []
    for side in LONG_PROBE_SIDES[:2]:
        ShapeProp(network).propagate(torch.empty(1, 3, side, side, device="meta"))
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
    """Determine the grid of each map along one axis: 2 (y) or 3 (x)."""
    short, long = (_measure(maps, thickness, axis, side) for side in PROBE_SIDES)
    middles = [(_middle(centres), _middle(longer)) for centres, longer in zip(short, long, strict=True)]
    lines = [line if line == same else None for line, same in middles]
    for line, centres in zip(lines, short, strict=True):
        # Attention, for example, draws all centres towards the middle of the image.
        if line is None and len(centres) > 1 and float(centres.diff().mean()) * len(centres) < 0.7 * PROBE_SIDES[0]:
            raise ValueError("an operation of the network mixes distant parts of a map")
    extents = _rf_extents(maps, thickness, axis, lines)
    return [
        MeasuredGrid(maps, tap, axis, thickness) if line is None else RegularGrid(*line, extent)
        for tap, (line, extent) in enumerate(zip(lines, extents, strict=True))
    ]


def _measure(maps: Maps, thickness: int, axis: int, side: int) -> list[Tensor]:
    """Measure the centres of each map's cells along an axis, on a thin image of `side` pixels along that axis."""
    ramp = torch.arange(side, dtype=torch.float64).expand(1, 3, thickness, side)
    image = torch.cat([ramp, torch.ones_like(ramp), 2 * ramp + 3])
    with torch.no_grad():
        results = maps((image if axis == 3 else image.transpose(2, 3)).as_subclass(MeanPropagation))
    centres = []
    for cells in results:
        lines = cells.as_subclass(Tensor).transpose(axis, 3)[:, :, cells.shape[5 - axis] // 2].mean(1)
        if not torch.allclose(lines[2], 2 * lines[0] + 3 * lines[1]):
            raise ValueError("an operation of the network can't be treated as a mean of its inputs")
        centres.append(lines[0] / lines[1])
    return centres


def _middle(centres: Tensor) -> tuple[float, float] | None:
    """Return the (stride, offset) that the two middle cells of a map imply; None for fewer than two cells."""
    middle = len(centres) // 2
    if middle == 0:
        return None
    stride = float(centres[middle] - centres[middle - 1])
    return round(stride, 6), round(float(centres[middle]) - stride * middle, 6) + 0.0  # turns -0.0 into 0.0


def _rf_extents(
    maps: Maps, thickness: int, axis: int, lines: Sequence[tuple[float, float] | None]
) -> list[tuple[float, float] | None]:
    """Measure the receptive field of the middle cell of each map along one axis.

    Args:
        maps: computes the maps.
        thickness: how many pixels the thin images have across the axis.
        axis: 2 (y) or 3 (x).
        lines: (stride, offset) of each map; None for a map that has no regular grid.

    Returns:
        For each map, how many pixels the receptive field reaches (before, after) the cell's centre; None if it reaches
        the border of the longest image, or if the map has no regular grid.

    Raises:
        ValueError: if a cell has no gradient with respect to the image.
    """
    extents: dict[int, tuple[float, float]] = {}
    for side in LONG_PROBE_SIDES:
        waiting = {tap: line for tap, line in enumerate(lines) if line is not None and tap not in extents}
        if not waiting:
            break
        image = torch.ones(1, 3, *((thickness, side) if axis == 3 else (side, thickness)), dtype=torch.float64)
        results = maps(image.requires_grad_().as_subclass(GatedMeanPropagation))
        for tap, (stride, offset) in waiting.items():
            cells = results[tap].as_subclass(Tensor).transpose(axis, 3)
            middle = cells.shape[3] // 2
            cell = cells[0, :, cells.shape[2] // 2, middle].sum()
            (gradient,) = torch.autograd.grad(cell, image, retain_graph=True)
            seen = gradient.transpose(axis, 3)[0].sum((0, 1)).nonzero().flatten()
            if not len(seen):
                raise ValueError("an operation of the network has no gradient, so receptive fields can't be measured")
            first, last, centre = int(seen[0]), int(seen[-1]), offset + stride * middle
            if first > 0 and last < side - 1:
                extents[tap] = round(centre - first, 6), round(last - centre, 6)
    return [extents.get(tap) for tap, _ in enumerate(lines)]


class MeanPropagation(Tensor):
    """A map in the stand-in network: torch's functions on it are replaced by those in `STAND_INS`.

    Functions that move or average values (reshaping, concatenation, average pooling, interpolation) run unchanged.
    """

    gated = False

    @classmethod
    def __torch_function__(
        cls, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Call the stand-in of `func` with the same arguments, or `func` itself if it has no stand-in.

        Args:
            func: the function of torch that was called.
            types: the tensor types among the arguments.
            args: positional arguments.
            kwargs: keyword arguments.

        Returns:
            The function's result.
        """
        name = getattr(func, "__name__", "").strip("_")
        stand_in = STAND_INS.get(name, func)
        return super().__torch_function__(stand_in, types, args, dict(kwargs or {}))  # type: ignore[no-untyped-call]


class GatedMeanPropagation(MeanPropagation):
    """A map in the stand-in network for measuring extents, where a cell depends on the inputs of its gate too.

    A gate is a factor for all cells of a channel, computed from the map itself (squeeze-and-excitation).
    """

    gated = True


def _same(x: Tensor, *_: Any, **__: Any) -> Tensor:
    return x


def _combined(*parts: Any, **_: Any) -> Tensor:
    """Sum the maps among the arguments, and ignore numbers and parameters.

    A map with fewer values than the largest map is a gate. The sum includes gates of class `GatedMeanPropagation`, and
    leaves out other gates.
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
    mean = x.mean(1, keepdim=True)  # all channels hold the same values, so groups make no difference
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
        x: (B, C, h, w).
        kernel: height and width.
        stride: along y and x.
        padding: along y and x.
        dilation: along y and x.
        shape: its last two numbers are the numbers of kernel positions along y and x.

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
    """Extrapolate a map linearly along an axis, by `before` and `after` cells; negative numbers crop the map."""
    last = x.shape[axis] - 1
    number = torch.arange(-before, last + 1 + after)
    start = number.clamp(0, max(last - 1, 0))
    share = (number - start).to(x.dtype).reshape([-1] + [1] * (x.ndim - 1 - axis))
    left, right = x.index_select(axis, start), x.index_select(axis, (start + 1).clamp(max=last))
    return left + share * (right - left)


def _pair(setting: Any) -> tuple[int, int]:
    values = [setting] if isinstance(setting, int) else list(setting)
    return values[0], values[-1]


# The keys are names of torch's functions and methods, without leading and trailing underscores.
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
# expand, expand_as and conv1d (in ECA) act on gates, which hold one number for each channel.
STAND_INS |= dict.fromkeys(
    "batch_norm layer_norm group_norm instance_norm rms_norm local_response_norm normalize "
    "relu relu6 leaky_relu prelu rrelu elu selu celu gelu silu mish softplus softsign sigmoid logsigmoid tanh "
    "hardtanh hardswish hardsigmoid softmax clamp clamp_min clamp_max sqrt rsqrt square exp abs neg "
    "dropout dropout2d alpha_dropout feature_dropout to type type_as float double half "
    "expand expand_as conv1d".split(),
    _same,
)
