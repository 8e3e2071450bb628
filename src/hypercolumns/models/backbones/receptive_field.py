"""Measure the centres and extents of the receptive fields of a map's cells, on a stand-in for the network.

The stand-in replaces every operation of the network by the unweighted mean of the operation's inputs. If the value of
each pixel is the pixel's coordinate, the value of each cell is therefore the coordinate of the centre of the cell's
receptive field. The values of the weights are not needed, so the network can be on the meta device.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, get_args

import torch
from torch import Tensor

from hypercolumns.errors import HypercolumnsError
from hypercolumns.io.decoding import RGB
from hypercolumns.models.backbones._extents import Maps, UnplacedError, rf_extents
from hypercolumns.models.backbones.stand_in import (
    ConstantsOnMeta,
    MeanPropagation,
    Path,
    prefer_path,
    whole,
)
from hypercolumns.models.slices import round_up
from hypercolumns.models.taps import CellGrid, RegularGrid

# Lengths in pixels of the two thin images on which the centres are measured. If the first length is halved again and
# again, the results are even; if the second one is, with rounding up, they are odd. If the network's padding depends on
# the image's size, the two images therefore give different centres.
PROBE_SIDES = (256, 513)
# Minimum width in pixels of a thin image, at right angles to its length. The maps of usual networks then have two cells
# or more along the width, so that gates of one cell differ from them.
THICKNESS = 64


@dataclass(frozen=True, eq=False)
class MeasuredGrid:
    """The cells of a map along one axis, if no formula gives their centres. The centres are measured.

    A pooling to a fixed number of cells, for example, makes such a map. There is one measurement for each size of the
    image along the axis, on a thin image, see `_measure`.

    Attributes:
        maps: computes the maps of all taps.
        tap: the index of the map among the results of `maps`.
        axis: 2 (y) or 3 (x), a dimension of the map.
        thickness: how many pixels a thin image has along the other axis.
        multiple: `maps` takes images whose sides are multiples of this number of pixels.
        cache: the centres that have been measured, by the number of the image's pixels along the axis.
    """

    maps: Maps = field(repr=False)  # its text would be that of the whole network
    tap: int
    axis: int
    thickness: int
    multiple: int = 1
    cache: dict[int, Tensor] = field(default_factory=dict)

    def __deepcopy__(self, memo: dict[int, Any]) -> "MeasuredGrid":
        """Return the grid itself, because a copy would also copy the network in `maps`."""
        return self

    def centres(self, cells: int, size: int) -> Tensor:
        """Measure the centres (cells,) float64 of the cells, for an image of `size` pixels along the axis.

        Raises:
            HypercolumnsError: if the measured centres are not `cells` rising numbers.
        """
        if size not in self.cache:
            side = round_up(size, self.multiple)
            self.cache[size] = _measure(self.maps, self.thickness, self.axis, side)[self.tap]
        centres = self.cache[size]
        if len(centres) != cells or not (centres.diff() > 0).all():
            raise HypercolumnsError(
                f"the centres of the cells of tap number {self.tap + 1} can't be determined for an image with a side "
                f"of {size} pixels; choose another tap"
            )
        return centres


def cell_grids(maps: Maps, min_side: int, multiple: int = 1) -> list[tuple[CellGrid, CellGrid]]:
    """Determine the centres of each map's cells along y and along x, for images of all sizes.

    Args:
        maps: computes the maps of all taps. It may be any code whose parameters are on the meta device.
        min_side: the minimum height and width of an image that `maps` accepts, in pixels.
        multiple: `maps` takes images whose sides are multiples of this number of pixels.

    Returns:
        For each map, its grid along y and its grid along x.

    Raises:
        UnplacedError: if the centres can't be measured, for example because a map depends on attention alone.
    """
    along_y, along_x = (_along(maps, min_side, axis, multiple) for axis in (2, 3))
    return list(zip(along_y, along_x, strict=True))


def grids_of_one_size(maps: Maps, size: tuple[int, int]) -> list[tuple[CellGrid, CellGrid]]:
    """Determine the centres of each map's cells along y and along x, for images of one size.

    Args:
        maps: computes the maps of all taps. It may be any code whose parameters are on the meta device.
        size: the (height, width) of the images, in pixels.

    Returns:
        For each map, its grid along y and its grid along x.

    Raises:
        UnplacedError: as for `cell_grids`.
    """
    grids: list[list[CellGrid]] = []
    for axis, side, thickness in ((2, *size), (3, *reversed(size))):
        centres = _measure(maps, thickness, axis, side)
        _check_places(centres, side)
        grids.append([_grid_of(each, MeasuredGrid(maps, tap, axis, thickness)) for tap, each in enumerate(centres)])
    return list(zip(*grids, strict=True))


def _grid_of(centres: Tensor, measured: MeasuredGrid) -> CellGrid:
    """Return the regular grid of centres (cells,) in pixels, or `measured` if they are not equally spaced."""
    line = _middle(centres)
    if line is None or not torch.allclose(RegularGrid(*line).centres(len(centres), 0), centres, atol=1e-3):
        return measured
    return RegularGrid(*line)


def path_spreads(maps: Maps, size: tuple[int, int], thickness: int | None = None) -> list[float]:
    """Measure how far apart the paths through a network are centred, for each map.

    Paths join in sums and concatenations, for example a block and its shortcut. `exact` is the mean of their centres;
    the weights of the network may shift the true centre towards any of the paths.

    Args:
        maps: computes the maps of all taps. It may be any code whose parameters are on the meta device.
        size: the (height, width) in pixels of an image that `maps` accepts.
        thickness: the width in pixels of the thin images that are used instead, if `maps` accepts them.

    Returns:
        For each map, the distance in pixels between the centres of its middle cell, along the axis where it is larger,
        if the first or the last of the joining paths decides everywhere.
    """
    spreads: list[list[float]] = []
    for axis, side, across in ((2, *size), (3, *reversed(size))):
        ends = []
        for path in get_args(Path):
            with prefer_path(path):
                ends.append(_measure(maps, thickness or across, axis, side))
        spreads.append(
            [abs(float(last[len(last) // 2] - first[len(last) // 2])) for first, last in zip(*ends, strict=True)]
        )
    return [round(max(both), 3) for both in zip(*spreads, strict=True)]


def _along(maps: Maps, min_side: int, axis: int, multiple: int) -> list[CellGrid]:
    """Determine the grid of each map along one axis.

    Args:
        maps: computes the maps of all taps.
        min_side: see `cell_grids`.
        axis: 2 (y) or 3 (x).
        multiple: see `cell_grids`.

    Returns:
        For each map, its grid.

    Raises:
        UnplacedError: if the centres can't be measured, for example because a map depends on attention alone.
    """
    thickness = round_up(max(min_side, THICKNESS), multiple)
    sides = [round_up(side, multiple) for side in PROBE_SIDES]
    short, long = (_measure(maps, thickness, axis, side) for side in sides)
    middles = [(_middle(centres), _middle(longer)) for centres, longer in zip(short, long, strict=True)]
    lines = [line if line == same else None for line, same in middles]
    _check_places([centres for line, centres in zip(lines, short, strict=True) if line is None], sides[0])
    extents = rf_extents(maps, round_up(min_side, multiple), axis, lines, multiple)
    return [
        MeasuredGrid(maps, tap, axis, thickness, multiple) if line is None else RegularGrid(*line, extent)
        for tap, (line, extent) in enumerate(zip(lines, extents, strict=True))
    ]


def _check_places(measured: Sequence[Tensor], side: int) -> None:
    """Check that the cells of maps have places of their own.

    Args:
        measured: for each map, the centres (cells,) of its cells along one axis, in pixels.
        side: the number of pixels of the image along the axis.

    Raises:
        UnplacedError: if the centres of a map are drawn towards the middle of the image, as by an operation that mixes
            distant parts of a map.
    """
    for centres in measured:
        if len(centres) > 1 and float(centres.diff().mean()) * len(centres) < 0.7 * side:
            raise UnplacedError("an operation of the network mixes distant parts of a map")


def _measure(maps: Maps, thickness: int, axis: int, side: int) -> list[Tensor]:
    """Measure the centres of each map's cells along one axis, on a thin image.

    Args:
        maps: computes the maps of all taps.
        thickness: how many pixels the thin image has along the other axis.
        axis: 2 (y) or 3 (x).
        side: how many pixels the thin image has along the axis.

    Returns:
        For each map, the centres (cells,) float64 in pixels.

    Raises:
        UnplacedError: if the stand-in for an operation of the network is not linear, or if a map has no place.
    """
    # The images have three channels for any network: the stand-in for a convolution averages the channels of its input.
    # The third image is 2 x the first image + 3 x the second image. If all operations are linear, the maps of the three
    # images have the same relation.
    ramp = torch.arange(side, dtype=torch.float64).expand(1, RGB, thickness, side)
    image = torch.cat([ramp, torch.ones_like(ramp), 2 * ramp + 3])
    with torch.no_grad(), ConstantsOnMeta():
        results = maps((image if axis == 3 else image.transpose(2, 3)).as_subclass(MeanPropagation))
    centres = []
    for cells in results:
        lines = whole(cells).as_subclass(Tensor).transpose(axis, 3)[:, :, cells.shape[5 - axis] // 2].mean(1)
        first, check = lines[0] / lines[1], lines[2] / lines[1]
        if first.isnan().any():
            raise UnplacedError(
                "a map depends on the image by attention alone, so its cells have no place of their own; choose other "
                "taps"
            )
        if not torch.allclose(check, 2 * first + 3):
            raise UnplacedError(
                "the measurement replaces each operation by the mean of its inputs, and one operation does not allow "
                "this"
            )
        centres.append(first)
    return centres


def _middle(centres: Tensor) -> tuple[float, float] | None:
    """Return (stride, offset), in pixels, of the regular grid that contains the two middle cells of a map.

    Args:
        centres: (cells,), the centres of the map's cells along one axis, in pixels.

    Returns:
        The stride and the offset; None if the map has fewer than two cells.
    """
    middle = len(centres) // 2
    if middle == 0:
        return None
    stride = float(centres[middle] - centres[middle - 1])
    return round(stride, 6), round(float(centres[middle]) - stride * middle, 6) + 0.0  # the sum turns -0.0 into 0.0
