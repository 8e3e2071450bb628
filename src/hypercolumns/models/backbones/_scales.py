"""Image scales: a network also sees the image smaller or larger, and its maps there are taps like the others.

An image is made n times smaller by the mean of n x n pixels, and n times larger by bilinear interpolation. Pixel i of
the image at scale s then is centred at pixel (i + 0.5) / s - 0.5 of the image itself, for images of any size whose
sides are multiples of n. The outermost pixels of an enlarged image lie outside of all centres, and repeat the image's
border. From this follow the centres, receptive fields and sizes of all maps.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

import torch.nn.functional as F
from torch import Tensor

from hypercolumns.errors import ArgumentError
from hypercolumns.models.backbones._network_info import NetworkInfo
from hypercolumns.models.slices import round_up
from hypercolumns.models.taps import CellGrid, RegularGrid, Tap

MAX_FACTOR = 8  # maximum factor by which an image is made smaller or larger; 8 takes 64 times the work
Scales = tuple[Fraction, ...]
ONE = Fraction(1)


def check_scales(scales: Sequence[float] | None) -> Scales:
    """Check a backbone's argument `scales`, and return the scales as fractions, from large to small.

    Args:
        scales: the argument; None: the image itself alone.

    Returns:
        The scales.

    Raises:
        ArgumentError: unless the argument is a list of different factors, which are whole or one part of a whole.
    """
    if scales is None:
        return (ONE,)
    message = (
        f"scales={scales} must be a list of one or more different factors: 1 for the image itself, whole numbers up to "
        f"{MAX_FACTOR} for larger images, and 1 divided by such a number (0.5, 0.25; 0.333 means 1/3) for smaller ones"
    )
    if isinstance(scales, str) or not isinstance(scales, Sequence) or not scales:
        raise ArgumentError(message)
    found = []
    for scale in scales:
        if isinstance(scale, bool) or not isinstance(scale, (int, float)) or not 0 < scale <= MAX_FACTOR:
            raise ArgumentError(message)
        fraction = Fraction(scale).limit_denominator(MAX_FACTOR)
        if 1 not in (fraction.numerator, fraction.denominator) or abs(fraction - Fraction(scale)) > 0.001:
            raise ArgumentError(message)
        found.append(fraction)
    if len({*found}) < len(found):
        raise ArgumentError(message)
    return tuple(sorted(found, reverse=True))


def rescale(images: Tensor, scale: Fraction) -> Tensor:
    """Make images smaller or larger.

    Args:
        images: (B, N, H, W), float. H and W are multiples of the scale's denominator.
        scale: one of the scales that `check_scales` returns.

    Returns:
        (B, N, H * scale, W * scale).
    """
    if scale < 1:
        return F.avg_pool2d(images, scale.denominator)
    if scale > 1:
        return F.interpolate(images, scale_factor=float(scale), mode="bilinear")
    return images


def at_scales(info: NetworkInfo, scales: Scales, network: str) -> NetworkInfo:
    """Describe the maps of a network that sees the image at several scales.

    Args:
        info: the properties of the network and its taps.
        scales: the scales, from large to small.
        network: the name of the network, for the error message.

    Returns:
        The properties of all maps, in pixels of the image itself: first all taps at the first scale, then at the next.

    Raises:
        ArgumentError: if the network takes images of one size only.
    """
    if scales == (ONE,):
        return info
    if info.fixed_size is not None:
        height, width = info.fixed_size
        raise ArgumentError(
            f"scales={[float(scale) for scale in scales]} does not fit {network}, which takes images of "
            f"{width}x{height} pixels only; set scales=[1]"
        )
    multiple = math.lcm(*(_whole_image(info.multiple, scale) for scale in scales))
    min_side = max(math.ceil(info.min_side / scale) for scale in scales)
    periods = [math.lcm(*(_whole_image(period, scale) for scale in scales)) for period in info.shift_period]
    return NetworkInfo(
        round_up(min_side, multiple),
        (math.lcm(periods[0], multiple), math.lcm(periods[1], multiple)),
        tuple(_scaled_tap(tap, scale) for scale in scales for tap in info.layers),
        tuple(
            None if offsets is None else _scaled_offsets(offsets, scale)
            for scale in scales
            for offsets in info.size_offsets
        ),
        info.reader,
        multiple,
    )


@dataclass(frozen=True)
class ScaledGrid:
    """The centres of cells along one axis whose rule holds for the image at another scale.

    Attributes:
        grid: the rule for the scaled image.
        scale: the scale.
    """

    grid: CellGrid
    scale: Fraction

    def centres(self, cells: int, size: int) -> Tensor:
        """Return the centres (cells,) in pixels of the image itself, see `CellGrid.centres`."""
        scale = float(self.scale)
        return (self.grid.centres(cells, size * self.scale.numerator // self.scale.denominator) + 0.5) / scale - 0.5


def _whole_image(number: int, scale: Fraction) -> int:
    """Return the smallest number of pixels that is a multiple of `number` in the scaled image."""
    return math.lcm(number * scale.denominator, scale.numerator) // scale.numerator


def _scaled_tap(tap: Tap, scale: Fraction) -> Tap:
    """Describe the map of a tap of the scaled image, in pixels of the image itself."""
    if scale == 1:
        return tap
    along_y, along_x = (_scaled_grid(axis, scale) for axis in tap.axes)
    name = f"{tap.name} at scale {float(scale):g}"
    return replace(tap, name=name, axes=(along_y, along_x), path_spread=tap.path_spread / float(scale))


def _scaled_grid(axis: CellGrid, scale: Fraction) -> CellGrid:
    if not isinstance(axis, RegularGrid):
        return ScaledGrid(axis, scale)
    factor = float(scale)
    extent = axis.rf_extent
    if extent is not None:
        # A pixel of a smaller image covers n x n pixels, (n - 1) / 2 on each side of its centre. A pixel of a larger
        # one is interpolated from pixels that are less than one pixel away.
        reach = (scale.denominator - 1) / 2 if scale < 1 else 1.0
        extent = extent[0] / factor + reach, extent[1] / factor + reach
    return RegularGrid(axis.stride / factor, (axis.offset + 0.5) / factor - 0.5, extent)


def _scaled_offsets(offsets: tuple[Fraction, Fraction] | tuple[int, int], scale: Fraction) -> tuple[Fraction, Fraction]:
    """Return `NetworkInfo.size_offsets` of a map of the scaled image.

    The map of an image of N pixels has `(N * scale + offset) // stride` cells, which is
    `(N + offset / scale) // (stride / scale)`.
    """
    y, x = (offset / scale for offset in offsets)
    return y, x
