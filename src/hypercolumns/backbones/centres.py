"""Where the cells of a map are centred in the image: derived from the network's layers."""

import copy
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from hypercolumns.errors import HypercolumnsError

SIDES = (256, 512, 1024, 2048)  # pixels, of the thin images that the centres are measured on
Maps = Callable[[nn.Module, Tensor], Sequence[Tensor]]
Axis = tuple[float, float]


def cell_centres(network: nn.Module, maps: Maps, min_side: int) -> list[tuple[Axis, Axis]]:
    """((stride, offset) along y, (stride, offset) along x) of each map, in pixels.

    In a linear copy of the network, whose every layer takes the plain mean of what it sees, a map made from an image
    of pixel coordinates holds, away from the border, the coordinate at the centre of each cell's receptive field.
    `maps(network, image)` gives the maps of an image (B, 3, H, W); `min_side` is the least side it takes.
    """
    linear = _averaging_copy(network)
    along_y, along_x = (_along(linear, maps, min_side, axis) for axis in (2, 3))
    return list(zip(along_y, along_x, strict=True))


def _along(linear: nn.Module, maps: Maps, min_side: int, axis: int) -> list[Axis]:
    previous = None
    for side in SIDES:
        measured = _measure(linear, maps, min_side, axis, side)
        if measured == previous:  # a longer image changes nothing: the border is out of sight
            return measured
        previous = measured
    raise HypercolumnsError(
        f"cnn.taps: the centres of this network's cells can't be found, for they change with the size of the image (up "
        f"to {SIDES[-1]} pixels); choose taps before any global operation, such as squeeze-and-excitation"
    )


def _measure(linear: nn.Module, maps: Maps, min_side: int, axis: int, side: int) -> list[Axis]:
    """(stride, offset) from the two cells in the middle of each map of a thin image, `side` pixels long."""
    ramp = torch.arange(side, dtype=torch.float64).expand(1, 3, max(min_side, 32), side)
    image = torch.cat([ramp, torch.ones_like(ramp)])
    with torch.no_grad():
        results = maps(linear, image if axis == 3 else image.transpose(2, 3))
    measured = []
    for cells in results:
        line = cells.transpose(axis, 3)[:, 0, cells.shape[5 - axis] // 2]
        centres = line[0] / line[1]  # padding with zeros adds to neither: divided by its share it drops out
        middle = len(centres) // 2
        stride = float(centres[middle] - centres[middle - 1])
        measured.append((round(stride, 6), round(float(centres[middle]) - stride * middle, 6)))
    return measured


def _averaging_copy(network: nn.Module) -> nn.Module:
    """A float64 copy whose convolutions and poolings average, and whose normalisations do nothing.

    Activations may stay: ReLU leaves the positive numbers met here as they are.
    """
    linear = copy.deepcopy(network).double().eval()
    for name, module in list(linear.named_modules()):
        if isinstance(module, nn.Conv2d):
            nn.init.constant_(module.weight, 1 / module.weight[0].numel())
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.MaxPool2d):
            average = nn.AvgPool2d(module.kernel_size, module.stride, module.padding, module.ceil_mode)
            linear.set_submodule(name, average)
        elif isinstance(module, nn.BatchNorm2d):
            linear.set_submodule(name, nn.Identity())
    return linear
