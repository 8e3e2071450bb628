"""Where the cells of a map are centred in the image, and how far they see: derived from the network's layers.

An image of pixel coordinates goes through a stand-in for the network, in which every layer takes the plain mean of what
it sees. What comes out is the coordinate at the centre of each cell's receptive field. Nothing of it depends on the
values of weights, so networks without values will do.
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

# Pixels, of the thin images that geometry is measured on: halved again and again (and rounded up), the first stays even
# and the second odd, so that padding that depends on the size shows.
PROBE_SIDES = (256, 513)
LONG_PROBE_SIDES = (256, 1280, 4352)  # to find both ends of what a cell sees; apart by whole strides
THICKNESS = 32
Maps = Callable[[Tensor], Sequence[Tensor]]  # an image (B, 3, H, W) to the maps of a network without values


@dataclass(frozen=True, eq=False)
class MeasuredGrid:
    """Cells whose places are no function of their number alone, such as those of a pooling to a fixed grid."""

    maps: Maps
    tap: int
    axis: int
    thickness: int
    found: dict[int, Tensor] = field(default_factory=dict)  # by the image's size

    def __deepcopy__(self, memo: dict[int, Any]) -> "MeasuredGrid":
        """Itself: a copy would be of the network that it measures, too."""
        return self

    def centres(self, cells: int, size: int) -> Tensor:
        """See `CellGrid`."""
        if size not in self.found:
            self.found[size] = _measure(self.maps, self.thickness, self.axis, size)[self.tap]
        found = self.found[size]
        if len(found) != cells or not (found.diff() > 0).all():
            raise HypercolumnsError(
                f"the places of a tap's cells can't be found in an image of {size} pixels a side; choose another tap"
            )
        return found


def cell_grids(maps: Maps, min_side: int) -> list[tuple[CellGrid, CellGrid]]:
    """Of each map, its geometry along y and along x; `min_side` is the least side of an image that `maps` takes."""
    along_y, along_x = (_along(maps, max(min_side, THICKNESS), axis) for axis in (2, 3))
    return list(zip(along_y, along_x, strict=True))


def shift_periods(network: GraphModule) -> tuple[int, int]:
    """By how many pixels along y and x an image can be shifted so that all maps in the network shift with it.

    The network must be without values (on the meta device).
    """
    shapes = []
    for side in LONG_PROBE_SIDES[:2]:
        ShapeProp(network).propagate(torch.empty(1, 3, side, side, device="meta"))
        metas = [node.meta.get("tensor_meta") for node in network.graph.nodes]
        shapes.append([getattr(meta, "shape", ()) for meta in metas])
    along = [1, 1]
    for one, longer in zip(*shapes, strict=True):
        for axis in (2, 3):
            if len(one) == 4 and longer[axis] > one[axis]:
                stride = round((LONG_PROBE_SIDES[1] - LONG_PROBE_SIDES[0]) / (longer[axis] - one[axis]))
                along[axis - 2] = math.lcm(along[axis - 2], max(stride, 1))
    return along[0], along[1]


def _along(maps: Maps, thickness: int, axis: int) -> list[CellGrid]:
    one, other = (_measure(maps, thickness, axis, side) for side in PROBE_SIDES)
    middles = [(_middle(centres), _middle(longer)) for centres, longer in zip(one, other, strict=True)]
    lines = [line if line == same else None for line, same in middles]
    for line, centres in zip(lines, one, strict=True):
        if line is None and len(centres) > 1 and float(centres.diff().mean()) * len(centres) < 0.7 * PROBE_SIDES[0]:
            raise ValueError("some operation of it mixes what is far apart")  # such as attention
    extents = _rf_extents(maps, thickness, axis, lines)
    return [
        MeasuredGrid(maps, tap, axis, thickness) if line is None else RegularGrid(*line, extent)
        for tap, (line, extent) in enumerate(zip(lines, extents, strict=True))
    ]


def _measure(maps: Maps, thickness: int, axis: int, side: int) -> list[Tensor]:
    """The centres of the cells of each map of an image of `side` pixels along the axis."""
    ramp = torch.arange(side, dtype=torch.float64).expand(1, 3, thickness, side)
    image = torch.cat([ramp, torch.ones_like(ramp), 2 * ramp + 3])
    with torch.no_grad():
        results = maps((image if axis == 3 else image.transpose(2, 3)).as_subclass(MeanPropagation))
    centres = []
    for cells in results:
        lines = cells.as_subclass(Tensor).transpose(axis, 3)[:, :, cells.shape[5 - axis] // 2].mean(1)
        if not torch.allclose(lines[2], 2 * lines[0] + 3 * lines[1]):
            raise ValueError("some operation of it is not known to average")
        centres.append(lines[0] / lines[1])
    return centres


def _middle(centres: Tensor) -> tuple[float, float] | None:
    """(stride, offset) by the two cells in the middle; None if there are not two."""
    middle = len(centres) // 2
    if middle == 0:
        return None
    stride = float(centres[middle] - centres[middle - 1])
    return round(stride, 6), round(float(centres[middle]) - stride * middle, 6) + 0.0  # no -0.0


def _rf_extents(
    maps: Maps, thickness: int, axis: int, lines: Sequence[tuple[float, float] | None]
) -> list[tuple[float, float] | None]:
    """How many pixels before and after its centre the middle cell of each map depends on; None: on all of them."""
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
                raise ValueError("some operation of it hides what a cell sees")
            first, last, centre = int(seen[0]), int(seen[-1]), offset + stride * middle
            if first > 0 and last < side - 1:
                extents[tap] = round(centre - first, 6), round(last - centre, 6)
    return [extents.get(tap) for tap, _ in enumerate(lines)]


class MeanPropagation(Tensor):
    """A map in the stand-in: torch's functions do to it what the stand-in does.

    What shifts or averages (reshaping, joining, average pooling, interpolation) is done as it is.
    """

    gated = False

    @classmethod
    def __torch_function__(
        cls, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """See torch: what is called in place of `func`, with the same arguments, when one of them is such a map."""
        name = getattr(func, "__name__", "").strip("_")
        stand_in = STAND_INS.get(name, func)
        return super().__torch_function__(stand_in, types, args, dict(kwargs or {}))  # type: ignore[no-untyped-call]


class GatedMeanPropagation(MeanPropagation):
    """One whose gates (squeeze-and-excitation) are counted as something that its cells see."""

    gated = True


def _same(x: Tensor, *_: Any, **__: Any) -> Tensor:
    return x


def _combined(*parts: Any, **_: Any) -> Tensor:
    """The sum of maps; numbers and parameters leave no trace, nor do gates: maps with fewer values than others."""
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
    mean = x.mean(1, keepdim=True)  # whatever the groups: the mean over all of them is the same
    kernel = (weight.shape[2], weight.shape[3])
    alike = torch.empty(1, 1, *kernel, device="meta")
    shape = F.conv2d(mean[:1].to("meta"), alike, None, stride, padding, dilation).shape
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
    """The mean of each window of a map that goes on beyond its border: that of `shape` windows along y and x."""
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
    """A map with that many cells more at both ends (fewer where negative), at the same distances as its own cells."""
    last = x.shape[axis] - 1
    number = torch.arange(-before, last + 1 + after)
    start = number.clamp(0, max(last - 1, 0))
    share = (number - start).to(x.dtype).reshape([-1] + [1] * (x.ndim - 1 - axis))
    one, next_one = x.index_select(axis, start), x.index_select(axis, (start + 1).clamp(max=last))
    return one + share * (next_one - one)


def _pair(setting: Any) -> tuple[int, int]:
    values = [setting] if isinstance(setting, int) else list(setting)
    return values[0], values[-1]


STAND_INS: dict[str, Callable[..., Tensor]] = {  # by the names of torch's functions and methods
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
STAND_INS |= dict.fromkeys(
    "batch_norm layer_norm group_norm instance_norm rms_norm local_response_norm normalize "
    "relu relu6 leaky_relu prelu rrelu elu selu celu gelu silu mish softplus softsign sigmoid logsigmoid tanh "
    "hardtanh hardswish hardsigmoid softmax clamp clamp_min clamp_max sqrt rsqrt square exp abs neg "
    "dropout dropout2d alpha_dropout feature_dropout to type type_as float double half "
    "expand expand_as conv1d".split(),  # of gates: one number a channel, and what ECA makes of it
    _same,
)
