"""Maps of made-up taps, for the tests of what is made of them."""

import itertools

import torch
from torch import nn

from hypercolumns.models.classifiers.pointwise import Pointwise, ReLU
from hypercolumns.models.taps import RegularGrid, Tap


class Grid:
    """Three cells, wherever the image ends: a pyramid grid."""

    def centres(self, cells, size):
        return torch.tensor([0.1, 0.4, 0.8], dtype=torch.float64) * size


TAPS = (
    Tap("fine", 3, (RegularGrid(1, 0), RegularGrid(1, 0))),
    Tap("middle", 4, (RegularGrid(4, 5), RegularGrid(4, 5))),
    Tap("middle too", 2, (RegularGrid(4, 5), RegularGrid(4, 5))),
    Tap("deep", 5, (RegularGrid(16, 7.5), RegularGrid(8, 3.5))),
)
PYRAMID = Tap("pyramid", 6, (Grid(), Grid()))
SIZES = [(37, 53), (5, 3), (1, 1), (16, 64)]  # odd, smaller than the deepest stride, one pixel, whole strides
ALIGNMENTS = ["exact", "half_pixel", "corners"]


def make_maps(size, dtype=torch.float64, batch=2, pyramid=False):
    generator = torch.Generator().manual_seed(0)
    shapes = [
        (
            tap.channels,
            *(max(int(side // axis.stride), 1) for side, axis in zip(size, tap.axes, strict=True)),
        )
        for tap in TAPS
    ]
    if pyramid:
        shapes.append((PYRAMID.channels, 3, 3))
    return [torch.randn(batch, *shape, generator=generator, dtype=dtype).requires_grad_() for shape in shapes]


def everywhere(size):
    """All rows and all columns."""
    return torch.arange(size[0]), torch.arange(size[1])


class Anywhere(nn.Sequential):
    """Layers that are the same everywhere: what follows the first layer in `classify`."""

    def forward(self, hidden, rows=None, columns=None):
        return super().forward(hidden)


def make_classifier(hidden, channels=14, classes=3, dtype=torch.float64, dropout=0.0):
    """The first layer's weight and bias, and what follows it."""
    generator = torch.Generator().manual_seed(2)
    widths = [*hidden, classes]
    weight = torch.randn(widths[0], channels, generator=generator, dtype=dtype).requires_grad_()
    bias = torch.randn(widths[0], generator=generator, dtype=dtype).requires_grad_()
    layers = []
    for width, following in itertools.pairwise(widths):
        layers += [ReLU(), *([nn.Dropout(dropout)] if dropout else []), Pointwise(width, following)]
    return weight, bias, Anywhere(*layers).to(dtype)
