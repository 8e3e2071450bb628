"""The rules that turn the stored pixels of an image, of any depth and number of channels, into 8 bits a channel."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hypercolumns.errors import ArgumentError, HypercolumnsError, is_int
from hypercolumns.io.pixel_layout import PixelLayout, fitting_interval

RGB = 3  # the number of channels of images that are read without a choice of channels
FULL_RANGE = "dtype"  # value of `ImageDecoding.range`
ALL_PAGES = "all"  # value of `ImageDecoding.page`
PERCENTILE = re.compile(r"(\d+(?:\.\d*)?)%")
BLOCK = 1 << 22  # values that are mapped at a time, so that float64 copies stay small
WHITE = 255
MAX_SHOWN = 16  # the largest number of channels that a message lists


class UnknownRangeError(HypercolumnsError):
    """An image has more than 8 bits, or floats, and no rule says which values are black and white."""


@dataclass(frozen=True)
class ImageDecoding:
    """The rules that turn the stored pixels of images into RGB uint8, or into the channels that a model sees instead.

    Without any argument, images of 8 bits keep their values, and images whose RGB is not certain are refused. The
    transparency of an image is blended over white unless `channels` is given.

    >>> import numpy as np
    >>> from hypercolumns import ImageDecoding
    >>> from hypercolumns.io.pixel_layout import array_layout
    >>> decoding = ImageDecoding(range=(0, 4095), channels=[3, 0, 1])
    >>> array = np.array([[[0, 4095, 100, 2048]]], np.uint16)
    >>> decoding.decode(array, array_layout(array), "the image").tolist()
    [[[128, 0, 255]]]

    Attributes:
        range: the values that become 0 and 255; values between them are mapped linearly, and others are clipped. None:
            8-bit values are kept and all others are refused; "dtype": the full range of the integers of the file; two
            numbers: these values; two texts such as ("2%", "98%"): these percentiles of all values of each image, in
            all of its colour channels together.
        channels: the channels that the model sees, in this order; counted from 0. Three become red, green and blue. One
            becomes all three. Of more or fewer, the first three take the place of red, green and blue, see
            `models.backbones.widening`. None: the image must have one or three channels, apart from certain
            transparency.
        page: the page of a TIFF or the frame of an animated image to read, counted from 0. "all": each page of a TIFF
            is a channel. None: images with several pages are refused.
        prefix: the text before the names above in messages, such as `data.`. It does not count in comparisons.

    Raises:
        ArgumentError: if a value has none of these forms.
    """

    range: str | Sequence[float | str] | None = None
    channels: Sequence[int] | None = None
    page: int | str | None = None
    prefix: str = field(default="", compare=False, repr=False)

    def __post_init__(self) -> None:
        """Check the values, and turn lists into tuples, so that equal rules are equal."""
        for name in ("range", "channels"):
            value = getattr(self, name)
            object.__setattr__(self, name, tuple(value) if isinstance(value, list) else value)
        if not (self.range is None or self.range == FULL_RANGE or self.percentiles or _is_interval(self.range)):
            raise ArgumentError(
                f"range={shown(self.range)} must be null, {FULL_RANGE}, two numbers such as [0,4095], or two "
                f"percentiles such as [2%,98%]; the second must be above the first"
            )
        channels = self.channels
        if channels is not None and not (
            isinstance(channels, tuple) and channels and all(is_int(channel, 0) for channel in channels)
        ):
            raise ArgumentError(
                f"channels={shown(channels)} must be null, or a list of channels, counted from 0, such as [3,0,1] for "
                f"red, green and blue, [0,1,2,3] for four channels, or [0] for a grey image"
            )
        if self.page is not None and self.page != ALL_PAGES and not is_int(self.page, 0):
            raise ArgumentError(f"page={self.page} must be null, {ALL_PAGES}, or the number of a page, counted from 0")

    @property
    def image_channels(self) -> int:
        """The number of channels of the images that these rules make, which is the number that a model must take.

        A single channel is repeated, because networks for RGB see grey images so.
        """
        return RGB if self.channels is None or len(self.channels) == 1 else len(self.channels)

    @property
    def percentiles(self) -> tuple[float, float] | None:
        """The two percentiles, from 0 to 100, if `range` gives percentiles; otherwise None."""
        if not isinstance(self.range, tuple) or len(self.range) != 2:
            return None
        found = [PERCENTILE.fullmatch(value) if isinstance(value, str) else None for value in self.range]
        low, high = (float(match[1]) if match else math.nan for match in found)
        return (low, high) if 0 <= low < high <= 100 else None

    @property
    def interval(self) -> tuple[float, float] | None:
        """The values that become 0 and 255, if `range` gives two numbers; otherwise None."""
        if not isinstance(self.range, tuple) or not _is_interval(self.range):
            return None
        low, high = (float(value) for value in self.range)
        return low, high

    def settings(self) -> dict[str, Any]:
        """Return the rules that differ from the default, by name, as JSON values; {} if there are none."""
        values = {name: getattr(self, name) for name in RULES}
        return {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in values.items()
            if value is not None
        }

    def override(self, other: "ImageDecoding") -> "ImageDecoding":
        """Return these rules with the rules of `other`, and its prefix, wherever `other` has one that is not None."""
        return replace(self, **other.settings(), prefix=other.prefix)

    def check(self, layout: PixelLayout, name: object) -> None:
        """Check by its header that an image can be read by these rules.

        Raises:
            HypercolumnsError: if this needs other rules; the message names the image, its layout and the rule.
        """
        colours = layout.channels - bool(layout.alpha)
        if self.channels is None and colours not in (1, 3):
            raise HypercolumnsError(
                f"{name} is {layout.text}, and which of them are red, green and blue is not known; choose three by "
                f"{self.prefix}channels=[0,1,2], or one by {self.prefix}channels=[0]{self._more(layout.channels)}"
            )
        if self.channels is not None and max(self.channels) >= layout.channels:
            raise HypercolumnsError(
                f"{name} is {layout.text}, so it has no channel {max(self.channels)} of "
                f"{self.prefix}channels={shown(self.channels)}; channels are counted from 0"
            )
        limits = layout.limits
        if self.range is None and not layout.is_bytes:
            raise self.unknown_range(layout, name)
        if self.range == FULL_RANGE and limits is None:
            raise HypercolumnsError(
                f"{name} is {layout.text}, and {self.prefix}range={FULL_RANGE} is for integers only; set "
                f"{self.range_choices(layout)}"
            )
        if self.interval is not None and limits is not None:
            low, high = self.interval
            if low < limits[0] or high > limits[1]:
                raise HypercolumnsError(
                    f"{name} is {layout.text}, whose values from {limits[0]} to {limits[1]} can't fill "
                    f"{self.prefix}range={shown(self.range)}; images of several depths need other rules, such as "
                    f"{self.prefix}range={FULL_RANGE}"
                )

    def unknown_range(
        self, layout: PixelLayout, name: object, seen: tuple[int, int] | None = None
    ) -> UnknownRangeError:
        """Return the error about an image that needs a rule `range`.

        Args:
            layout: the layout of the image.
            name: its name.
            seen: see `range_choices`.

        Returns:
            The error, to be raised.
        """
        return UnknownRangeError(
            f"{name} is {layout.text}, and which values are black and white is not known; set "
            f"{self.range_choices(layout, seen)}"
        )

    def range_choices(self, layout: PixelLayout, seen: tuple[int, int] | None = None) -> str:
        """List the settings that say which values are black and white, the one that fits best first.

        Args:
            layout: the layout of the image.
            seen: the smallest and the largest value of the image, or of several; None: they are not known.

        Returns:
            The settings, as on the command line.
        """
        limits, setting = layout.limits, f"{self.prefix}range="
        narrow = fitting_interval(layout, seen) if seen else None
        if narrow and seen:
            return (
                f"{setting}{shown(narrow)}, which fits the values seen ({seen[0]} to {seen[1]}), or {setting}[2%,98%]"
            )
        full = "" if limits is None else f"{setting}{FULL_RANGE} ({limits[0]} to {limits[1]}), "
        return f"{full}{setting}[low,high] or {setting}[2%,98%]"

    def maps(self, layout: PixelLayout) -> bool:
        """Return whether values are mapped to 0 to 255; otherwise, they are in this range already, and are kept."""
        return not layout.is_bytes or self.range not in (None, FULL_RANGE)

    def _more(self, channels: int) -> str:
        """Return the end of a message that says how to train on all channels; empty where no model is trained."""
        if not self.prefix or channels > MAX_SHOWN:
            return ""
        return f"; a model sees all of them by {self.prefix}channels={shown(range(channels))}"

    def decode(self, values: NDArray[Any], layout: PixelLayout, name: object) -> NDArray[np.uint8]:
        """Turn stored pixels into those of the image that a model sees.

        A value that is not a number (NaN) becomes black, and no percentile counts it.

        Args:
            values: (H, W, C), the stored pixels.
            layout: describes them.
            name: the image's name, for messages.

        Returns:
            (H, W, N) uint8, with N = `image_channels`.

        Raises:
            HypercolumnsError: if `check` refuses the layout, or if the percentiles of an image without any finite
                value are needed.
        """
        try:
            self.check(layout, name)
        except UnknownRangeError:
            seen = self.choose(values, layout)
            if seen.dtype.kind == "f":
                raise
            raise self.unknown_range(layout, name, (int(seen.min()), int(seen.max()))) from None
        opacity, limits = None, layout.limits
        colours = self.choose(values, layout)
        if self.channels is None and layout.alpha:
            opacity = values[..., -1:] / (limits[1] if limits else 1)
            if layout.alpha == "premultiplied":
                colours = colours / np.where(opacity > 0, opacity, 1)
        pixels = self._to_bytes(colours, layout, name)
        if opacity is not None:
            rows = _rows_of_block(pixels)
            for top in range(0, len(pixels), rows):
                part, visible = pixels[top : top + rows], opacity[top : top + rows]
                part[:] = np.rint(part * visible + WHITE * (1 - visible)).clip(0, WHITE).astype(np.uint8)
        return pixels if pixels.shape[-1] > 1 else np.repeat(pixels, RGB, axis=-1)

    def choose(self, values: NDArray[Any], layout: PixelLayout) -> NDArray[Any]:
        """Return the chosen channels of stored pixels (H, W, C); without `channels`, all but a certain transparency."""
        if self.channels is not None:  # these are bands, which no transparency may change
            return values[..., list(self.channels)]
        return values[..., :-1] if layout.alpha else values

    def _to_bytes(self, values: NDArray[Any], layout: PixelLayout, name: object) -> NDArray[np.uint8]:
        """Map values (H, W, C) linearly to uint8 by `range`, and clip them."""
        if not self.maps(layout):
            kept = np.rint(values).clip(0, WHITE).astype(np.uint8)
            inverted: NDArray[np.uint8] = WHITE - kept
            return inverted if layout.white_is_zero else kept
        low, high = self._limits(values, layout, name)
        if values.dtype in (np.uint8, np.uint16):
            table: NDArray[Any] = _linear(np.arange(np.iinfo(values.dtype).max + 1), low, high, layout.white_is_zero)
            mapped: NDArray[np.uint8] = table[values]
            return mapped
        result = np.empty(values.shape, np.uint8)
        rows = _rows_of_block(values)
        for top in range(0, len(values), rows):
            result[top : top + rows] = _linear(values[top : top + rows], low, high, layout.white_is_zero)
        return result

    def _limits(self, values: NDArray[Any], layout: PixelLayout, name: object) -> tuple[float, float]:
        """Return the values that become 0 and 255."""
        if self.percentiles is None:
            low, high = layout.limits or (0, 1) if self.range == FULL_RANGE else self.range or (0, 1)
            return float(low), float(high)
        finite = values[np.isfinite(values)]
        if not finite.size:
            raise HypercolumnsError(f"{name} has no value that is a finite number; replace it or leave it out")
        low, high = np.percentile(finite, self.percentiles, overwrite_input=True).tolist()  # without another copy
        return float(low), float(high)


RULES = tuple(rule.name for rule in fields(ImageDecoding) if rule.compare)
AS_STORED = ImageDecoding()


def _rows_of_block(values: NDArray[Any]) -> int:
    """Return how many rows of an array have about `BLOCK` values, at least 1."""
    return max(1, BLOCK // max(1, math.prod(values.shape[1:])))


def _linear(values: NDArray[Any], low: float, high: float, white_is_zero: bool) -> NDArray[np.uint8]:
    """Map `low` to 0 and `high` to 255, with values beyond them clipped, and NaN to 0."""
    span = high - low or np.finfo(np.float64).tiny
    with np.errstate(over="ignore", invalid="ignore"):
        fraction = np.clip((values.astype(np.float64) - low) / span, 0, 1)
    fraction = 1 - fraction if white_is_zero else fraction
    mapped: NDArray[np.uint8] = np.rint(np.nan_to_num(fraction, nan=0.0) * WHITE).astype(np.uint8)
    return mapped


def _is_interval(value: object) -> bool:
    if not isinstance(value, tuple) or len(value) != 2:
        return False
    if not all(isinstance(limit, int | float) and not isinstance(limit, bool) for limit in value):
        return False
    return all(map(math.isfinite, value)) and value[0] < value[1]


def shown(value: object) -> str:
    """Format a value as on the command line: `[0,4095]` for a list, `null` for None."""
    if value is None:
        return "null"
    return f"[{','.join(map(str, value))}]" if isinstance(value, tuple | list | range) else str(value)
