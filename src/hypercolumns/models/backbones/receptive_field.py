"""Centres and extents of the receptive fields of a map's cells, measured on a stand-in for the network.

In the stand-in, every layer takes the plain mean of its inputs. It maps an image of pixel coordinates to the coordinate
at the centre of each cell's receptive field. The weights' values play no part: a network on the meta device suffices.
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
# first stays even and the second odd: this exposes padding that depends on the image's size.
PROBE_SIDES = (256, 513)
LONG_PROBE_SIDES = (256, 1280, 4352)  # to measure extents; their differences are multiples of all usual strides
THICKNESS = 32  # pixels
Maps = Callable[[Tensor], Sequence[Tensor]]  # images (B, 3, H, W) to the maps of a network on the meta device


@dataclass(frozen=True, eq=False)
class MeasuredGrid:
    """Cells whose positions depend on the image's size, such as those of a pooling to a fixed grid.

    Attributes:
        maps: computes the maps.
        tap: the index of the map.
        axis: the dimension of the map along which the cells are centred: 2 (y) or 3 (x).
        thickness: pixels of the test images across the axis.
        cache: measured centres by the image's size.
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
                f"the positions of a tap's cells can't be determined for an image with a side of {size} pixels; "
                f"choose another tap"
            )
        return centres


def cell_grids(maps: Maps, min_side: int) -> list[tuple[CellGrid, CellGrid]]:
    """Determine the positions of each map's cells along y and along x.

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

    If an image is shifted by a multiple of it, all these maps shift by whole cells.

    Args:
        network: on the meta device.
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
            raise ValueError("one of its operations mixes distant parts of a map")
    extents = _rf_extents(maps, thickness, axis, lines)
    return [
        MeasuredGrid(maps, tap, axis, thickness) if line is None else RegularGrid(*line, extent)
        for tap, (line, extent) in enumerate(zip(lines, extents, strict=True))
    ]


def _measure(maps: Maps, thickness: int, axis: int, side: int) -> list[Tensor]:
    """Measure the centres of each map's cells along an axis, for an image of `side` pixels along it."""
    ramp = torch.arange(side, dtype=torch.float64).expand(1, 3, thickness, side)
    image = torch.cat([ramp, torch.ones_like(ramp), 2 * ramp + 3])
    with torch.no_grad():
        results = maps((image if axis == 3 else image.transpose(2, 3)).as_subclass(MeanPropagation))
    centres = []
    for cells in results:
        lines = cells.as_subclass(Tensor).transpose(axis, 3)[:, :, cells.shape[5 - axis] // 2].mean(1)
        if not torch.allclose(lines[2], 2 * lines[0] + 3 * lines[1]):
            raise ValueError("one of its operations is not known to average its inputs")
        centres.append(lines[0] / lines[1])
    return centres


def _middle(centres: Tensor) -> tuple[float, float] | None:
    """Return (stride, offset) according to the two cells in the middle; None for fewer than two cells."""
    middle = len(centres) // 2
    if middle == 0:
        return None
    stride = float(centres[middle] - centres[middle - 1])
    return round(stride, 6), round(float(centres[middle]) - stride * middle, 6) + 0.0  # turns -0.0 into 0.0


def _rf_extents(
    maps: Maps, thickness: int, axis: int, lines: Sequence[tuple[float, float] | None]
) -> list[tuple[float, float] | None]:
    """Measure how many pixels before and after its centre the middle cell of each map depends on.

    Args:
        maps: computes the maps.
        thickness: pixels of the test images across the axis.
        axis: 2 (y) or 3 (x).
        lines: (stride, offset) of each map; None if the map has no regular grid.

    Returns:
        The extents before and after; None if the cell depends on the whole image, or the map has no regular grid.

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
                raise ValueError("one of its operations has no gradient, so receptive fields can't be measured")
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
        """Call the stand-in of `func`, if there is one, with the same arguments.

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
    """A map whose cells also depend on their gates (squeeze-and-excitation): for extents of receptive fields."""

    gated = True


def _same(x: Tensor, *_: Any, **__: Any) -> Tensor:
    return x


def _combined(*parts: Any, **_: Any) -> Tensor:
    """Sum the maps among the arguments; ignore numbers, parameters and gates.

    Gates are the maps with fewer values than the largest one. `GatedMeanPropagation` includes them in the sum.
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
    """Average each window of a convolution or pooling, on a map that is extrapolated beyond its border.

    Args:
        x: (B, C, h, w).
        kernel: height and width.
        stride: along y and x.
        padding: along y and x.
        dilation: along y and x.
        shape: of the result; its last two numbers count the windows along y and x.

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
    """Extrapolate a map linearly by `before` and `after` cells along an axis; negative numbers crop it."""
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
# The functions of the last line act on gates, which hold one number for each channel; ECA uses conv1d.
STAND_INS |= dict.fromkeys(
    "batch_norm layer_norm group_norm instance_norm rms_norm local_response_norm normalize "
    "relu relu6 leaky_relu prelu rrelu elu selu celu gelu silu mish softplus softsign sigmoid logsigmoid tanh "
    "hardtanh hardswish hardsigmoid softmax clamp clamp_min clamp_max sqrt rsqrt square exp abs neg "
    "dropout dropout2d alpha_dropout feature_dropout to type type_as float double half "
    "expand expand_as conv1d".split(),
    _same,
)
