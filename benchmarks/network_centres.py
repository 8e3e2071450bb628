"""Measure where the gradients of a map's cells lie in the image, to check the centres that a backbone declares.

The energy of a cell at a pixel is the square of the gradient of a random sum over the cell's channels. It has a peak
around the centre of the cell's receptive field, and possibly a floor over the whole image (attention, gates,
normalisation by statistics of the image). The floor is subtracted, and the position of the peak is its centroid under a
Gaussian window. The window moves to the centroid until it stays there, so that neither the window nor the borders of
the image draw the result towards the declared centre or towards the middle.
"""

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from hypercolumns import Backbone, HypercolumnExtractor
from hypercolumns.models.alignment import tap_centres

# (height, width) of the images, in pixels; a network may need more. Maps of all usual strides have an even number of
# rows, and most have an odd number of columns: some networks move the cells of one of these.
SIZE = (256, 225)
BATCH = 4  # cells that are measured at once, each in an image of its own
MAX_ROUNDS = 5
STEPS = 30  # movements of the window
MIN_PEAK = 0.01  # smallest part of a cell's energy that counts as a peak


class Distance(NamedTuple):
    """The distance between measured and declared centre.

    Attributes:
        pixels: the larger one of the distances along y and along x; nan if there is no peak.
        allowed: the largest distance that is not an error, in pixels.
    """

    pixels: float
    allowed: float


def centre_distances(backbone: Backbone) -> dict[str, Distance]:
    """Measure the distance for each tap of a backbone, by the tap's name.

    Cells near the middle of random images are measured. If a distance is not small, more cells are.
    """
    size = HypercolumnExtractor(backbone).view(torch.zeros(1, 3, *SIZE)).seen.size
    generator = torch.Generator().manual_seed(3)
    energies: list[list[Tensor]] = [[] for _ in backbone.taps]
    distances: dict[str, Distance] = {}
    for _ in range(MAX_ROUNDS):
        waiting = [
            number
            for number, tap in enumerate(backbone.taps)
            if tap.name not in distances or not distances[tap.name].pixels <= 0.6 * distances[tap.name].allowed
        ]
        if not waiting:
            break
        images = torch.rand(BATCH, 3, *size, generator=generator).requires_grad_()
        maps = backbone(images)
        for number in waiting:
            tap, values = backbone.taps[number], maps[number]
            centres = tap_centres(tap, (values.shape[2], values.shape[3]), size, "exact")
            cells = torch.stack([_middle(line, side, generator) for line, side in zip(centres, size, strict=True)], 1)
            signs = torch.randn(BATCH, values.shape[1], generator=generator)
            total = (values[range(BATCH), :, cells[:, 0], cells[:, 1]] * signs).sum()
            (gradient,) = torch.autograd.grad(total, images, retain_graph=True)
            for image, (row, column) in zip(gradient, cells.tolist(), strict=True):
                around = float(centres[0][row]), float(centres[1][column])
                scaled = image / image.abs().max()  # the square of a large number overflows
                energies[number].append(_centred(scaled.square().sum(0), around))
            strides = [float(line.diff().mean()) if len(line) > 1 else float(max(SIZE)) for line in centres]
            pixels = _peak(energies[number], max(1.5 * max(strides), 4.0))
            distances[tap.name] = Distance(pixels, max(2.0, 0.3 * max(strides)))
    return distances


def _middle(centres: Tensor, side: int, generator: torch.Generator) -> Tensor:
    """Choose `BATCH` of the cells whose centres are next to the middle of the image along an axis."""
    nearest = (centres - (side - 1) / 2).abs().argsort()[: 2 if len(centres) > 3 else 1]
    return nearest[torch.randint(len(nearest), (BATCH,), generator=generator)]


def _centred(energy: Tensor, centre: tuple[float, float]) -> Tensor:
    """Return (pixels, 3): the energy of each pixel without the floor, its y and its x relative to a declared centre."""
    floor = F.avg_pool2d(energy[None, None], 8).median()
    y, x = (torch.arange(side) - middle for side, middle in zip(energy.shape, centre, strict=True))
    scaled = (energy - floor) / energy.sum()
    ys, xs = torch.meshgrid(y, x, indexing="ij")
    return torch.stack([scaled, ys, xs], -1).flatten(0, 1).double()


def _peak(energies: list[Tensor], width: float) -> float:
    """Return the distance of the peak from the declared centre, in pixels; nan if there is no peak.

    Args:
        energies: results of `_centred`.
        width: the standard deviation of the window, in pixels.
    """
    energy, *positions = torch.cat(energies).unbind(1)
    where = torch.zeros(2, dtype=torch.float64)
    for _ in range(STEPS):
        squares = sum((line - at).square() for line, at in zip(positions, where, strict=True))
        window = torch.exp(-squares / (2 * width * width)) * energy
        weight = window.sum()
        if not float(weight) > MIN_PEAK * len(energies):  # the energy of each cell sums to 1
            return math.nan
        where = torch.stack([(window * line).sum() / weight for line in positions])
    return float(where.abs().max())
