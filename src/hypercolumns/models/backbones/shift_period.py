"""Find after how many pixels the maps inside a network repeat."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.fx import GraphModule, Interpreter, Node

from hypercolumns.io.decoding import RGB
from hypercolumns.models.backbones.remembered_shapes import RememberedShapes
from hypercolumns.models.slices import round_up

PROBE_SIDES = (256, 1280)  # sides in pixels of two square images, which differ by a multiple of all usual strides


def shift_periods(network: GraphModule, channels: int = RGB, multiple: int = 1) -> tuple[int, int]:
    """Return the shift periods of a network along y and along x, in pixels.

    The shift period along an axis is the least common multiple of the strides of all maps inside the network, tapped or
    not. If an image is shifted along the axis by a multiple of it, all these maps shift by whole cells.

    Args:
        network: the traced network, on the meta device.
        channels: the number of channels of the images.
        multiple: the network takes images whose sides are multiples of this number of pixels.

    Returns:
        The periods, which are multiples of `multiple`.
    """
    shapes = []
    sides = [round_up(side, multiple) for side in PROBE_SIDES]
    for side in sides:
        steps = _StepShapes(network)
        with RememberedShapes():
            steps.run(torch.empty(1, channels, side, side, device="meta"))
        shapes.append(steps.shapes)
    along = [multiple, multiple]
    for short, long in zip(*shapes, strict=True):
        for axis in (2, 3):
            if len(short) == 4 and long[axis] > short[axis]:
                stride = round((sides[1] - sides[0]) / (long[axis] - short[axis]))
                along[axis - 2] = math.lcm(along[axis - 2], max(stride, 1))
    return along[0], along[1]


class _StepShapes(Interpreter):
    """Run a traced network, and note the shape of the result of each step; () for results that are no tensors."""

    def __init__(self, network: GraphModule) -> None:
        super().__init__(network)
        self.shapes: list[Sequence[int]] = []

    def run_node(self, n: Node) -> Any:
        """Run a step `n` of the network, and return its result."""
        result = super().run_node(n)
        self.shapes.append(result.shape if isinstance(result, Tensor) else ())
        return result
