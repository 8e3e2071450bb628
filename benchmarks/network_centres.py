"""Measure where the gradients of a map's cells lie in the image, to check the centres that a backbone declares.

The energy of a cell at a pixel is the square of the gradient of a random sum over the cell's channels. It has a peak
around the centre of the cell's receptive field. The peak's position is its centroid under a Gaussian window. The window
moves to the centroid and grows to the width of the peak, so that neither its start nor the borders of the image draw
the result towards the declared centre or towards the middle.

Three things would hide the peak, or move it by chance, without saying where the features of a cell come from:

- Attention mixes the whole image. The gradient leaves it out, see `WithoutMixing`, and follows the paths beside it.
- Gates, such as squeeze-and-excitation, say how much of a feature is kept. The gradient leaves them out, too.
- The random values of a filter have a centroid of their own, and deep filters together see more than the image. The
  filters are therefore made symmetric about their centres, and larger there, see `_concentrate`.

None of this uses how the project derives centres. The measurement is repeated on random images, which gives a standard
error. A distance is a fault if it is larger than what is allowed, and than four standard errors.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from hypercolumns import Backbone, HypercolumnExtractor
from hypercolumns.models.alignment import tap_centres

# (height, width) of the images, in pixels; a network may need more. Maps of all usual strides have an even number of
# rows, and most have an odd number of columns: some networks move the cells of one of these.
SIZE = (256, 225)
BATCH = 4  # cells that are measured at once, each in an image of its own
MIN_ROUNDS, MAX_ROUNDS = 5, 15  # how often this is repeated, with other images and cells
STEPS = 30  # movements of the window
MIN_PEAK = 0.01  # smallest part of a cell's energy that counts as a peak
ALLOWED = 0.25  # the largest distance that is not an error, in cells
ERRORS = 4  # a fault is larger than this many standard errors
# Functions that sum products of two computed tensors, as attention does.
PRODUCTS = set("matmul rmatmul bmm baddbmm einsum scaled_dot_product_attention multi_head_attention_forward".split())
FACTORS = set("sigmoid hardsigmoid softmax".split())  # functions whose results are factors of features
MULTIPLICATIONS = set("mul rmul imul multiply".split())


class Distance(NamedTuple):
    """The distance between measured and declared centre.

    Attributes:
        pixels: the larger one of the distances along y and along x; nan if there is no peak.
        error: the standard error of `pixels`.
        allowed: the largest distance that is not an error, in pixels.
    """

    pixels: float
    error: float
    allowed: float

    @property
    def is_fault(self) -> bool:
        """Whether the declared centre is wrong."""
        return self.pixels > max(self.allowed, ERRORS * self.error)

    @property
    def is_sure(self) -> bool:
        """Whether a wrong centre would have been noticed."""
        return ERRORS * self.error <= self.allowed


class WithoutMixing(TorchFunctionMode):
    """Cut the gradient at the results of attention, and at gates; the values stay as they are."""

    def __torch_function__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Call a function of torch, and detach its result, or its factors, from what they were computed from.

        Args:
            func: the function of torch that was called.
            types: the tensor types among the arguments.
            args: the positional arguments of the call.
            kwargs: the keyword arguments of the call.

        Returns:
            The result of the call.
        """
        name = getattr(func, "__name__", "").strip("_")
        named = dict(kwargs or {})
        computed = [part for part in [*args, *named.values()] if _is_computed(part)]
        if name in MULTIPLICATIONS and len(computed) == 2:
            largest = max(part.numel() for part in computed)  # a gate repeats along channels or positions
            args = [part.detach() if _is_computed(part) and part.numel() < largest else part for part in args]
        result = func(*args, **named)
        if name in FACTORS or (name in PRODUCTS and len(computed) > 1):
            return tuple(map(_detached, result)) if isinstance(result, tuple) else _detached(result)
        return result


def _is_computed(value: Any) -> bool:
    return isinstance(value, Tensor) and not isinstance(value, nn.Parameter)


def _detached(value: Any) -> Any:
    return value.detach() if isinstance(value, Tensor) else value


def centre_distances(backbone: Backbone) -> dict[str, Distance]:
    """Measure the distance for each tap of a backbone, by the tap's name.

    Cells near the middle of random images are measured, more of them while the result is not sure. Where paths through
    a network are centred apart, the true centre depends on the weights. Half the distance that the backbone declares
    for these paths (`Tap.path_spread`) is then allowed as well.

    Args:
        backbone: the backbone; its filters are changed.
    """
    _concentrate(backbone)
    size = HypercolumnExtractor(backbone).view(torch.zeros(1, 3, *SIZE)).seen.size
    generator = torch.Generator().manual_seed(3)
    found: list[list[Tensor]] = [[] for _ in backbone.taps]
    distances: dict[str, Distance] = {}
    for number in range(MAX_ROUNDS):
        waiting = [tap for tap in backbone.taps if tap.name not in distances or not distances[tap.name].is_sure]
        if not waiting:
            break
        images = torch.rand(BATCH, 3, *size, generator=generator).requires_grad_()
        with WithoutMixing():
            maps = backbone(images)
        for tap, values, offsets in zip(backbone.taps, maps, found, strict=True):
            if tap not in waiting:
                continue
            centres = tap_centres(tap, (values.shape[2], values.shape[3]), size, "exact")
            cells = torch.stack([_middle(line, side, generator) for line, side in zip(centres, size, strict=True)], 1)
            signs = torch.randn(BATCH, values.shape[1], generator=generator)
            total = (values[range(BATCH), :, cells[:, 0], cells[:, 1]] * signs).sum()
            (gradient,) = torch.autograd.grad(total, images, retain_graph=True)
            energies = []
            for image, (row, column) in zip(gradient, cells.tolist(), strict=True):
                around = float(centres[0][row]), float(centres[1][column])
                scaled = image / image.abs().max()  # the square of a large number overflows
                energies.append(_centred(scaled.square().sum(0), around))
            stride = max(float(line.diff().mean()) if len(line) > 1 else float(max(SIZE)) for line in centres)
            offsets.append(_peak(energies, max(1.5 * stride, 4.0), max(size) / 6))
            if number + 1 >= MIN_ROUNDS:
                distances[tap.name] = _distance(torch.stack(offsets), ALLOWED * stride + tap.path_spread / 2)
    return distances


def _concentrate(backbone: Backbone) -> None:
    """Make each filter symmetric about its centre, and larger there than at its border; the norm stays the same."""
    with torch.no_grad():
        for parameter in backbone.body.parameters():
            if parameter.ndim == 4 and parameter[0, 0].numel() > 1:
                values = parameter + parameter.flip(2, 3)
                for axis in (2, 3):
                    side = parameter.shape[axis]
                    cells = torch.arange(side) - (side - 1) / 2
                    taper = torch.exp(-cells.square() / (2 * max(0.5, side / 6) ** 2))
                    values = values * taper.view([-1 if dim == axis else 1 for dim in range(4)])
                parameter.copy_(values * parameter.norm() / values.norm())


def _distance(offsets: Tensor, allowed: float) -> Distance:
    """Return the distance of measured offsets (rounds, 2) from the declared centre, in pixels."""
    mean, error = offsets.mean(0), offsets.std(0) / math.sqrt(len(offsets))
    axis = int(mean.abs().argmax())
    return Distance(float(mean[axis].abs()), float(error[axis]), allowed)


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


def _peak(energies: list[Tensor], width: float, max_width: float) -> Tensor:
    """Return the (y, x) of the peak relative to the declared centre, in pixels; nan if there is no peak.

    Args:
        energies: results of `_centred`.
        width: the smallest standard deviation of the window, in pixels.
        max_width: the largest one.
    """
    energy, *positions = torch.cat(energies).unbind(1)
    where, variance = torch.zeros(2, dtype=torch.float64), width * width
    for _ in range(STEPS):
        squares = torch.stack([(line - at).square() for line, at in zip(positions, where, strict=True)]).sum(0)
        window = torch.exp(-squares / (2 * variance)) * energy
        weight = window.sum()
        if not float(weight) > MIN_PEAK * len(energies):  # the energy of each cell sums to 1
            return torch.full((2,), math.nan, dtype=torch.float64)
        where = torch.stack([(window * line).sum() / weight for line in positions])
        # Under a window as wide as a Gaussian peak, the variance along each axis is half that of the peak.
        spread = float((window * squares).sum() / weight)
        variance = min(max(spread, width * width), max_width * max_width)
    return where
