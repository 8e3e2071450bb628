"""Derive the properties of a network and its taps from the architecture alone, without the values of the weights.

The weights are on the meta device, where tensors have shapes, but no values.
"""

import functools
import math
from collections.abc import Callable, Sequence

import torch
from torch import nn
from torch.fx import GraphModule

from hypercolumns.io.decoding import RGB
from hypercolumns.models.backbones import _blocks, _mixing, _readers, networks
from hypercolumns.models.backbones._body import run_body, without_values
from hypercolumns.models.backbones._extents import Maps, UnplacedError
from hypercolumns.models.backbones._mixing import without_extent
from hypercolumns.models.backbones._network_info import NetworkInfo
from hypercolumns.models.backbones._readers import MapReader
from hypercolumns.models.backbones._sizes import AcceptedSizes, find_sizes
from hypercolumns.models.backbones.receptive_field import (
    THICKNESS,
    cell_grids,
    grids_of_one_size,
    path_spreads,
)
from hypercolumns.models.backbones.remembered_shapes import RememberedShapes
from hypercolumns.models.backbones.shift_period import shift_periods
from hypercolumns.models.taps import CellGrid, RegularGrid, Tap

SPREAD_SIDE = 160  # pixels of the square image on which `Tap.path_spread` is measured
MAX_PERIOD = 256  # the longest shift period, in pixels, for which formulas of the maps' sizes are looked for


def derive(network: str, reader: MapReader, body: nn.Module, channels: int = RGB) -> NetworkInfo:
    """Derive the properties of a network and its taps from the network's layers.

    Args:
        network: the name of the network, for error messages.
        reader: computes the maps of the taps.
        body: the network up to its last tap; it stays unchanged.
        channels: the number of channels of the images.

    Returns:
        The properties.

    Raises:
        ArgumentError: if the network does not compute maps (B, C, h, w) with a fixed C, or if the centres of the maps'
            cells can't be determined.
    """
    skeleton = without_values(body)
    tap_modules = tuple(map(tuple, reader.tap_modules))
    maps, remembered = _maps(reader, skeleton), RememberedShapes()

    @functools.cache
    def shapes(height: int, width: int) -> list[torch.Size]:
        image = torch.empty(1, channels, height, width, device="meta")
        with remembered:
            return [cells.shape for cells in maps(image)]

    patch = _blocks.plain_patch(skeleton) if reader.kind == "blocks" else None
    sizes = find_sizes(network, shapes, networks.usual_size(network), patch)
    if reader.kind == "blocks":
        reader.check_norm(network, skeleton, torch.empty(1, channels, *next(sizes.examples()), device="meta"))
    small, *others = [shapes(*size) for size in sizes.examples()]
    for modules, small_shape, *other_shapes in zip(tap_modules, small, *others, strict=True):
        if len(small_shape) != 4 or any(shape[1] != small_shape[1] for shape in other_shapes):
            reason = (
                f"the map of tap {modules[0]} must have the shape (batch, channels, height, width), with the same "
                f"number of channels for images of every size, but has the shapes "
                f"{' and '.join(str((*shape,)) for shape in (small_shape, *other_shapes[:1]))}"
            )
            raise networks.unusable(network, reason)
    try:
        axes = [_patches(patch)] * len(tap_modules) if patch is not None else _grids(reader, skeleton, sizes, channels)
        spreads = [0.0] * len(tap_modules) if patch is not None else _spreads(reader, skeleton, sizes)
    except Exception as error:
        why = error if isinstance(error, UnplacedError) else _unplaced(body)
        raise networks.unusable(network, f"the centres of its maps' cells can't be determined ({why})") from error
    layers = [
        Tap(modules[0], shape[1], both, path_spread=spread)
        for modules, shape, both, spread in zip(tap_modules, small, axes, spreads, strict=True)
    ]
    periods = _periods(skeleton, layers, sizes, channels)
    offsets = _size_offsets(shapes, sizes, max(periods), layers)
    fields = sizes.min_side, periods, tuple(layers), tuple(offsets)
    return NetworkInfo(*fields, reader.kind, sizes.multiple, sizes.fixed)


def _grids(
    reader: MapReader, skeleton: nn.Module, sizes: AcceptedSizes, channels: int
) -> list[tuple[CellGrid, CellGrid]]:
    """Find the grids of the cells of each map, along y and along x, with receptive fields that values confirm.

    Args:
        reader: computes the maps of the taps.
        skeleton: the network, on the meta device.
        sizes: the sizes of images that the network accepts.
        channels: the number of channels of the images.

    Returns:
        For each map, its grid along y and its grid along x.
    """
    if sizes.fixed is not None:
        return grids_of_one_size(_maps(reader, skeleton), sizes.fixed)
    axes = cell_grids(_maps(reader, skeleton), sizes.min_side, sizes.multiple)
    if reader.kind == "blocks":  # the strides of the maps inside, which windows would have to keep, are not known
        return [(without_extent(along_y), without_extent(along_x)) for along_y, along_x in axes]
    valued = _maps(reader, _mixing.with_values(skeleton))
    return _mixing.without_extents_of_mixing(valued, axes, sizes.min_side, sizes.multiple, channels)


def _spreads(reader: MapReader, skeleton: nn.Module, sizes: AcceptedSizes) -> list[float]:
    """Return `Tap.path_spread` of each map, in pixels."""
    side = sizes.rounded(SPREAD_SIDE)
    thickness = None if sizes.fixed is not None else sizes.rounded(THICKNESS)
    return path_spreads(_maps(reader, skeleton), sizes.fixed or (side, side), thickness)


def _maps(reader: MapReader, network: nn.Module) -> Maps:
    return functools.partial(run_body, _readers.quiet(reader, network), reader.tap_modules)


def _patches(side: int) -> tuple[RegularGrid, RegularGrid]:
    """Return the grids along y and along x of patches of `side` pixels, see `_blocks.plain_patch`."""
    grid = RegularGrid(float(side), (side - 1) / 2)
    return grid, grid


def _periods(skeleton: nn.Module, layers: Sequence[Tap], sizes: AcceptedSizes, channels: int) -> tuple[int, int]:
    """Return the shift periods along y and along x, in pixels, see `NetworkInfo.shift_period`.

    A network that is not a graph is never cut into windows. Its periods only say after how many pixels the formulas of
    the maps' sizes repeat.

    Args:
        skeleton: the network, on the meta device.
        layers: the taps.
        sizes: the sizes of images that the network accepts.
        channels: the number of channels of the images.
    """
    if isinstance(skeleton, GraphModule) and sizes.fixed is None:
        return shift_periods(skeleton, channels, sizes.multiple)
    strides = [int(axis.stride) for tap in layers for axis in tap.axes if isinstance(axis, RegularGrid)]
    period = math.lcm(sizes.multiple, *strides)
    return period, period


def _size_offsets(
    shapes: Callable[[int, int], list[torch.Size]], sizes: AcceptedSizes, period: int, layers: Sequence[Tap]
) -> list[tuple[int, int] | None]:
    """Find the numbers `NetworkInfo.size_offsets`.

    If an image grows by one shift period, each map grows by a fixed number of cells. A formula therefore holds for all
    sizes if it holds for the sizes of one period.

    Args:
        shapes: computes the shapes of the maps from the height and the width of an image, in pixels.
        sizes: the sizes of images that the network accepts.
        period: the larger one of the shift periods, in pixels.
        layers: the taps.

    Returns:
        One item for each tap.
    """
    if period > MAX_PERIOD and sizes.fixed is None:
        return [None] * len(layers)
    squares = [(side, side) for side in range(sizes.min_side, sizes.min_side + period, sizes.multiple)]
    examined = squares if sizes.fixed is None else [sizes.fixed]
    try:
        counts = [[(shape[2], shape[3]) for shape in shapes(*size)] for size in examined]
    except Exception:  # a network can refuse single sizes, and a formula would not
        return [None] * len(layers)
    offsets: list[tuple[int, int] | None] = []
    for number, tap in enumerate(layers):
        both = []
        for axis, grid in enumerate(tap.axes):
            if not isinstance(grid, RegularGrid) or grid.stride % 1:
                break
            stride = int(grid.stride)
            seen = [(size[axis], each[number][axis]) for size, each in zip(examined, counts, strict=True)]
            # A map that gains its next cell at this side has exactly `count * stride = side + offset`.
            offset = max(count * stride - side for side, count in seen)
            if any((side + offset) // stride != count for side, count in seen):
                break
            both.append(offset)
        offsets.append((both[0], both[1]) if len(both) == 2 else None)
    return offsets


def _unplaced(network: nn.Module) -> str:
    """Say what in a network can't be replaced by a mean of places."""
    recurrent = next((layer for layer in network.modules() if isinstance(layer, nn.RNNBase)), None)
    if recurrent is not None:
        return f"its recurrent layers, {type(recurrent).__name__}, carry values across the whole image"
    return "one of its operations can't be replaced by a mean"
