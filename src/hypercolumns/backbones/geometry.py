"""Where the cells of a map are centred in the image, and how far they see: derived from the network's layers."""

import copy
import math
import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.fx import GraphModule
from torch.fx.passes.shape_prop import ShapeProp
from torchvision.ops import SqueezeExcitation

from hypercolumns.errors import HypercolumnsError
from hypercolumns.taps import Geometry, Regular

SIDES = (256, 512, 1024, 2048)  # pixels, of the thin images that geometry is measured on
THICKNESS = 32
Maps = Callable[[nn.Module, Tensor], Sequence[Tensor]]


@dataclass(frozen=True, eq=False)
class Measured:
    """Cells whose places change with the size of the image, such as those of a pooling to a fixed grid.

    Each is centred where its receptive field is, the average of the pixels that it sees.
    """

    network: nn.Module  # a copy that averages
    maps: Maps
    tap: int
    axis: int
    thickness: int
    found: dict[int, Tensor] = field(default_factory=dict)  # by the image's size

    def centres(self, cells: int, size: int) -> Tensor:
        """See `Geometry`."""
        if size not in self.found:
            self.found[size] = _measure(self.network, self.maps, self.thickness, self.axis, size)[self.tap]
        found = self.found[size]
        if len(found) != cells or not (found.diff() > 0).all():
            raise HypercolumnsError(
                f"cnn.taps: the places of this tap's cells can't be found in an image of {size} pixels a side; "
                f"choose another tap"
            )
        return found


def geometries(network: GraphModule, maps: Maps, min_side: int) -> list[tuple[Geometry, Geometry]]:
    """Of each map, its geometry along y and along x.

    In a linear copy of the network, whose every layer takes the plain mean of what it sees and whose gates
    (squeeze-and-excitation) are left out, a map made from an image of pixel coordinates holds the coordinate at the
    centre of each cell's receptive field. `maps(network, image)` gives the maps of an image (B, 3, H, W); `min_side` is
    the least side it takes.
    """
    gated = _averaging_copy(network)
    linear = _without_gates(gated, min_side)
    along_y, along_x = (_along(gated, linear, maps, max(min_side, THICKNESS), axis) for axis in (2, 3))
    return list(zip(along_y, along_x, strict=True))


def periods(network: GraphModule, min_side: int) -> tuple[int, int]:
    """By how many pixels along y and x an image can be shifted so that all maps in the network shift with it."""
    averaging = _averaging_copy(network)
    along_y, along_x = (_period(averaging, max(min_side, THICKNESS), axis) for axis in (2, 3))
    return along_y, along_x


def _along(gated: nn.Module, linear: nn.Module, maps: Maps, thickness: int, axis: int) -> list[Geometry]:
    regular: dict[int, tuple[float, float]] = {}
    previous = None
    for side in SIDES:
        middles = [_middle(line) for line in _measure(linear, maps, thickness, axis, side)]
        for tap, middle in enumerate(middles):
            # Once a longer image changes nothing, the border was out of sight.
            if previous is not None and middle is not None and middle == previous[tap]:
                regular.setdefault(tap, middle)
        if len(regular) == len(middles):
            break
        previous = middles
    return [
        Regular(*regular[tap], reach) if tap in regular else Measured(linear, maps, tap, axis, thickness)
        for tap, reach in enumerate(_reaches(gated, linear, maps, thickness, axis))
    ]


def _measure(linear: nn.Module, maps: Maps, thickness: int, axis: int, side: int) -> list[Tensor]:
    """The centres of the cells of each map of an image of `side` pixels along the axis."""
    ramp = torch.arange(side, dtype=torch.float64).expand(1, 3, thickness, side)
    image = torch.cat([ramp, torch.ones_like(ramp)])
    with torch.no_grad():
        results = maps(linear, image if axis == 3 else image.transpose(2, 3))
    lines = [cells.transpose(axis, 3)[:, :, cells.shape[5 - axis] // 2].mean(1) for cells in results]
    # Padding with zeros adds to neither: divided by its share it drops out.
    return [line[0] / line[1] for line in lines]


def _middle(centres: Tensor) -> tuple[float, float] | None:
    """(stride, offset) by the two cells in the middle; None if there are not two."""
    middle = len(centres) // 2
    if middle == 0:
        return None
    stride = float(centres[middle] - centres[middle - 1])
    return round(stride, 6), round(float(centres[middle]) - stride * middle, 6) + 0.0  # no -0.0


def _reaches(
    gated: nn.Module, linear: nn.Module, maps: Maps, thickness: int, axis: int
) -> list[tuple[float, float] | None]:
    """How many pixels before and after its centre the middle cell of each map depends on; None: on all of them."""
    reaches: dict[int, tuple[float, float]] = {}
    for side in SIDES:
        image = torch.ones(1, 3, *((thickness, side) if axis == 3 else (side, thickness)), dtype=torch.float64)
        results = maps(gated, image.requires_grad_())
        centres = _measure(linear, maps, thickness, axis, side)
        for tap, cells in enumerate(results):
            middle = cells.shape[axis] // 2
            cell = cells.transpose(axis, 3)[0, :, cells.shape[5 - axis] // 2, middle].sum()
            (gradient,) = torch.autograd.grad(cell, image, retain_graph=True)
            seen = gradient.transpose(axis, 3)[0].sum((0, 1)).nonzero().flatten()
            if not len(seen):
                raise HypercolumnsError(
                    "cnn.taps: what the cells of a tap see can't be found in this network's layers; choose other taps"
                )
            first, last, centre = int(seen[0]), int(seen[-1]), float(centres[tap][middle])
            if first > 0 and last < side - 1:
                reaches.setdefault(tap, (round(centre - first, 6), round(last - centre, 6)))
        if len(reaches) == len(results):
            break
    return [reaches.get(tap) for tap, _ in enumerate(results)]


def _period(network: GraphModule, thickness: int, axis: int) -> int:
    lengths = []
    for side in SIDES[:2]:
        shape = (thickness, side) if axis == 3 else (side, thickness)
        ShapeProp(network).propagate(torch.ones(1, 3, *shape, dtype=torch.float64))
        metas = [node.meta.get("tensor_meta") for node in network.graph.nodes]
        lengths.append([getattr(meta, "shape", ()) for meta in metas])
    period = 1
    for one, longer in zip(*lengths, strict=True):
        if len(one) == 4 and longer[axis] > one[axis]:
            period = math.lcm(period, max(round((SIDES[1] - SIDES[0]) / (longer[axis] - one[axis])), 1))
    return period


def _averaging_copy(network: GraphModule) -> GraphModule:
    """A float64 copy whose convolutions and poolings average, and whose normalisations and activations do nothing."""
    linear = copy.deepcopy(network).double().eval()
    for name, module in list(linear.named_modules()):
        if isinstance(module, nn.Conv2d):
            nn.init.constant_(module.weight, 1 / module.weight[0].numel())
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.MaxPool2d):
            average = nn.AvgPool2d(module.kernel_size, module.stride, module.padding, module.ceil_mode)
            linear.set_submodule(name, average)
        elif isinstance(module, nn.BatchNorm2d | nn.LayerNorm) or type(module).__module__ == nn.ReLU.__module__:
            linear.set_submodule(name, nn.Identity())
    return linear


def _without_gates(network: GraphModule, min_side: int) -> GraphModule:
    """A copy in which a map times one number a channel is the map."""
    ungated = copy.deepcopy(network).eval()  # a copy of a traced network is in training mode
    for name, module in list(ungated.named_modules()):
        if isinstance(module, SqueezeExcitation):
            ungated.set_submodule(name, nn.Identity())
    side = max(min_side, THICKNESS)
    ShapeProp(ungated).propagate(torch.ones(1, 3, side, side, dtype=torch.float64))
    for node in ungated.graph.nodes:
        if node.target in (operator.mul, torch.mul):
            shapes = [getattr(getattr(one, "meta", {}).get("tensor_meta"), "shape", ()) for one in node.args]
            for gate, kept in ((0, 1), (1, 0)):
                if tuple(shapes[gate][-2:]) == (1, 1) and tuple(shapes[kept][-2:]) != (1, 1):
                    node.replace_all_uses_with(node.args[kept])
    ungated.recompile()
    return ungated
