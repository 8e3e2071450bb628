"""The properties of a network and its taps: known from a file, or else derived from the network's layers."""

import functools
import json
import math
from collections.abc import Callable, Mapping
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple, get_args

import torch
from torch import nn

from hypercolumns.io.decoding import RGB
from hypercolumns.models.backbones import networks
from hypercolumns.models.backbones._body import TapModules
from hypercolumns.models.backbones._readers import MapReader, ReaderKind
from hypercolumns.models.backbones._sizes import AcceptedSizes
from hypercolumns.models.backbones.derived_files import load_derived, save_derived
from hypercolumns.models.taps import RegularGrid, Tap

KNOWN = Path(__file__).with_name("known_networks.json")
MAX_DENOMINATOR = 64  # of strides in an enlarged image
MAX_PIXELS = 1 << 20  # the largest number of pixels in a record; no usual network comes near


class NetworkInfo(NamedTuple):
    """The properties of a network and its taps, as far as the architecture alone determines them.

    The values of the weights make no difference.

    Attributes:
        min_side: the minimum height and width of an image that the network accepts, in pixels.
        shift_period: (along y, along x), in pixels. If an image is shifted along an axis by a multiple of the axis's
            number, all maps shift by whole cells.
        layers: one `Tap` for each tap on modules of the network. Context taps are not included.
        size_offsets: for each of `layers`, two numbers (along y, along x). Along an axis, the map of an image of n
            pixels has `(n + number) // stride` cells, where `stride` is that of the tap's `RegularGrid`. None: no such
            formula holds for the map.
        reader: how the maps are computed, see `_readers`.
        multiple: the sides of an image that the network accepts are multiples of this number of pixels.
        fixed_size: the only (height, width) of an image that the network accepts, in pixels; None: it accepts all sizes
            that `min_side` and `multiple` allow.
    """

    min_side: int
    shift_period: tuple[int, int]
    layers: tuple[Tap, ...]
    size_offsets: tuple[tuple[Fraction, Fraction] | tuple[int, int] | None, ...]
    reader: ReaderKind = "graph"
    multiple: int = 1
    fixed_size: tuple[int, int] | None = None

    @property
    def sizes(self) -> AcceptedSizes:
        """The sizes of images that the network accepts."""
        return AcceptedSizes(self.min_side, self.multiple, self.fixed_size)

    def map_sizes(self, height: int, width: int) -> list[tuple[int, int]] | None:
        """Return the size (h_l, w_l) of the map of each of `layers`.

        Args:
            height: the height of the image, in pixels.
            width: the width of the image, in pixels.

        Returns:
            One size for each map; None if no formula gives the sizes of all maps for this image.
        """
        if min(height, width) < self.min_side or None in self.size_offsets:
            return None
        return [
            ((height + offsets[0]) // _stride(tap, 0), (width + offsets[1]) // _stride(tap, 1))
            for tap, offsets in zip(self.layers, self.size_offsets, strict=True)
            if offsets is not None
        ]


class Key(NamedTuple):
    """What the properties of a network's maps depend on.

    Attributes:
        network: the name of the network.
        constructor: its constructor if it is a network of this project; a program may replace it. None: it is not.
        tap_modules: for each tap, the paths of the tap's modules.
        channels: the number of channels of the images.
        norm: whether the network's last normalisation layer is applied to every map.
    """

    network: str
    constructor: Callable[[], nn.Module] | None
    tap_modules: TapModules
    channels: int
    norm: bool


CACHE: dict[Key, NetworkInfo] = {}  # stages build the same backbones often


def make_key(network: str, tap_modules: TapModules, channels: int = RGB, norm: bool = False) -> Key:
    """Return the key of a network with its taps.

    Args:
        network: see `Key`.
        tap_modules: see `Key`.
        channels: see `Key`.
        norm: see `Key`.

    Returns:
        The key.
    """
    return Key(network, networks.OWN.get(network), tap_modules, channels, norm)


def look_up(key: Key) -> NetworkInfo | None:
    """Return the properties of a network and its taps from `CACHE`, the file `KNOWN` or `derived_files`, or None."""
    if key not in CACHE and key.constructor is None:
        record = _known().get((key.network, key.tap_modules, key.norm)) or load_derived(*_file_key(key))
        if record is not None:
            with suppress(ValueError):  # a file that was derived earlier may be damaged
                CACHE[key] = from_record(record, key.tap_modules)
    return CACHE.get(key)


def keep(key: Key, info: NetworkInfo) -> None:
    """Keep the derived properties of a network and its taps for later commands, if a file can hold them."""
    if key.constructor is None:
        save_derived(*_file_key(key), to_record(info))


def _file_key(key: Key) -> tuple[str, TapModules, int, bool]:
    return key.network, key.tap_modules, key.channels, key.norm


def derive(key: Key, reader: MapReader, body: nn.Module) -> NetworkInfo:
    """Derive the properties of a network and its taps from the network's layers, and keep them in `CACHE`.

    Args:
        key: the network and its taps.
        reader: computes the maps of the taps.
        body: the network up to its last tap; it stays unchanged.

    Returns:
        The properties.

    Raises:
        ArgumentError: if the network does not compute maps (B, C, h, w) with a fixed C, or if the centres of the maps'
            cells can't be determined.
    """
    from hypercolumns.models.backbones import _derivation  # imports the compiler of torch

    with torch.inference_mode(False), torch.enable_grad():  # the centres of cells are found by gradients
        CACHE[key] = _derivation.derive(key.network, reader, body, key.channels)
    return CACHE[key]


def to_record(info: NetworkInfo) -> dict[str, Any] | None:
    """Return properties as JSON-compatible values; None if the file would not determine them.

    This is the case if no formula gives the sizes of a map and the centres of its cells for images of all sizes.
    """
    maps = []
    for tap, offsets in zip(info.layers, info.size_offsets, strict=True):
        if offsets is None:
            return None
        axes = []
        for axis, size_offset in zip(tap.axes, offsets, strict=True):
            if not isinstance(axis, RegularGrid):
                return None
            extent = None if axis.rf_extent is None else [*axis.rf_extent]
            axes.append({"stride": axis.stride, "offset": axis.offset, "rf_extent": extent, "size_offset": size_offset})
        spread = {"path_spread": tap.path_spread} if tap.path_spread else {}
        maps.append({"channels": tap.channels, "axes": axes, **spread})
    record: dict[str, Any] = {"min_side": info.min_side, "shift_period": [*info.shift_period], "maps": maps}
    if info.reader != "graph":
        record["reader"] = info.reader
    if info.multiple != 1:
        record["multiple"] = info.multiple
    if info.fixed_size is not None:
        record["fixed_size"] = [*info.fixed_size]
    return record


def from_record(record: Mapping[str, Any], tap_modules: TapModules) -> NetworkInfo:
    """Return the properties in a record that `to_record` made.

    Args:
        record: the record. It may come from a file that somebody has forged.
        tap_modules: for each tap, the paths of the tap's modules.

    Returns:
        The properties.

    Raises:
        ValueError: if the record is not a valid record for these taps.
    """
    try:
        period_y, period_x = record["shift_period"]
        layers, size_offsets = [], []
        for modules, values in zip(tap_modules, record["maps"], strict=True):
            (y, y_offset), (x, x_offset) = map(_axis, values["axes"])
            spread = _pixels(values.get("path_spread", 0.0), 0)
            layers.append(Tap(modules[0], _whole(values["channels"], 1), (y, x), path_spread=spread))
            size_offsets.append((y_offset, x_offset))
        periods = _whole(period_y, 1), _whole(period_x, 1)
        reader, multiple = record.get("reader", "graph"), _whole(record.get("multiple", 1), 1)
        if reader not in get_args(ReaderKind):
            raise ValueError(f"{reader} must be one of {', '.join(get_args(ReaderKind))}")
        fixed_size = record.get("fixed_size")
        if fixed_size is not None:
            height, width = fixed_size
            fixed_size = _whole(height, 1), _whole(width, 1)
        min_side = _whole(record["min_side"], 1)
        return NetworkInfo(min_side, periods, tuple(layers), tuple(size_offsets), reader, multiple, fixed_size)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"the description of the network's maps is invalid: {error!r}") from error


def _axis(values: Mapping[str, Any]) -> tuple[RegularGrid, int]:
    """Return the grid of a map along one axis, and the number of `NetworkInfo.size_offsets`, from a record."""
    extent = values["rf_extent"]
    if extent is not None:
        before, after = extent
        extent = _pixels(before, 0), _pixels(after, 0)
    return RegularGrid(float(_whole(values["stride"], 1)), _pixels(values["offset"]), extent), _whole(
        values["size_offset"]
    )


def _whole(value: Any, minimum: int = -MAX_PIXELS) -> int:
    if type(value) is float and value.is_integer():
        value = int(value)
    if type(value) is not int or not minimum <= value <= MAX_PIXELS:
        raise ValueError(f"{value} must be a whole number from {minimum} to {MAX_PIXELS}")
    return value


def _pixels(value: Any, minimum: int = -MAX_PIXELS) -> float:
    if type(value) not in (int, float) or not math.isfinite(value) or not minimum <= value <= MAX_PIXELS:
        raise ValueError(f"{value} must be a number from {minimum} to {MAX_PIXELS}")
    return float(value)


def _stride(tap: Tap, axis: int) -> Fraction:
    grid = tap.axes[axis]
    assert isinstance(grid, RegularGrid), "a map with a size offset has regular grids"
    return Fraction(grid.stride).limit_denominator(MAX_DENOMINATOR)


@functools.cache
def _known() -> dict[tuple[str, TapModules, bool], Mapping[str, Any]]:
    """Read the file `KNOWN`, which `python -m hypercolumns.settings.known_networks` writes.

    Entries for other versions of the network's library are left out, because their layers may differ.
    """
    return {
        (each["network"], tuple(map(tuple, each["taps"])), each["norm"]): each["info"]
        for each in json.loads(KNOWN.read_text(encoding="utf-8"))
        if each["versions"] == networks.layer_versions(each["network"])
    }
