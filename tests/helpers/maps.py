"""Random feature maps of made-up taps, and classifiers for them."""

import itertools

import torch
from torch import nn

from hypercolumns.models.classifiers.pointwise import Pointwise, ReLU
from hypercolumns.models.taps import RegularGrid, Tap


class Grid:
    """A grid of three cells for any image size, like the grid of a pyramid tap."""

    def centres(self, cells, size):
        return torch.tensor([0.1, 0.4, 0.8], dtype=torch.float64) * size


TAPS = (
    Tap("fine", 3, (RegularGrid(1, 0), RegularGrid(1, 0))),
    Tap("middle", 4, (RegularGrid(4, 5), RegularGrid(4, 5))),
    Tap("middle too", 2, (RegularGrid(4, 5), RegularGrid(4, 5))),
    Tap("deep", 5, (RegularGrid(16, 7.5), RegularGrid(8, 3.5))),
)
# The cells of each of these maps but "odd" are centred on cells of the finer maps, as in a SqueezeNet.
NESTED = (
    Tap("stride 2", 3, (RegularGrid(2, 3), RegularGrid(2, 3))),
    Tap("stride 4", 4, (RegularGrid(4, 5), RegularGrid(4, 5))),
    Tap("stride 4 too", 2, (RegularGrid(4, 5), RegularGrid(4, 5))),
    Tap("odd", 2, (RegularGrid(8, 4.5), RegularGrid(4, 5))),
    Tap("stride 8", 3, (RegularGrid(8, 9), RegularGrid(8, 9))),
)
PYRAMID = Tap("pyramid", 6, (Grid(), Grid()))
SIZES = [(37, 53), (5, 3), (1, 1), (16, 64)]  # odd, below the deepest stride, one pixel, multiples of the strides
ALIGNMENTS = ["exact", "half_pixel", "corners"]


def make_maps(size, dtype=torch.float64, batch=2, pyramid=False, taps=TAPS):
    """Return a random map (batch, channels, h, w) for each of `taps`, and of `PYRAMID` if asked, with gradients.

    Args:
        size: (height, width) of the images.
        dtype: of the maps.
        batch: number of images.
        pyramid: whether to add a map of `PYRAMID`.
        taps: taps with a `RegularGrid` along each axis.
    """
    generator = torch.Generator().manual_seed(0)
    shapes = [
        (
            tap.channels,
            *(max(int(side // axis.stride), 1) for side, axis in zip(size, tap.axes, strict=True)),
        )
        for tap in taps
    ]
    if pyramid:
        shapes.append((PYRAMID.channels, 3, 3))
    return [torch.randn(batch, *shape, generator=generator, dtype=dtype).requires_grad_() for shape in shapes]


def everywhere(size):
    """Return the indices of all rows and all columns of an image."""
    return torch.arange(size[0]), torch.arange(size[1])


class Anywhere(nn.Sequential):
    """Layers that ignore the position of a pixel, to follow the first layer in `classify`."""

    def forward(self, hidden, rows=None, columns=None):
        return super().forward(hidden)


def make_classifier(hidden, channels=14, classes=3, dtype=torch.float64, dropout=0.0):
    """Return the weight and the bias of the first layer, and a module of the layers after it.

    Args:
        hidden: the sizes of the hidden layers.
        channels: of the input.
        classes: of the output.
        dtype: of all parameters.
        dropout: probability of dropout before each layer; 0 leaves it out.
    """
    generator = torch.Generator().manual_seed(2)
    widths = [*hidden, classes]
    weight = torch.randn(widths[0], channels, generator=generator, dtype=dtype).requires_grad_()
    bias = torch.randn(widths[0], generator=generator, dtype=dtype).requires_grad_()
    layers = []
    for width, following in itertools.pairwise(widths):
        layers += [ReLU(), *([nn.Dropout(dropout)] if dropout else []), Pointwise(width, following)]
    return weight, bias, Anywhere(*layers).to(dtype)
