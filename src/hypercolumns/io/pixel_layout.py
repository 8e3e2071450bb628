"""What the header of an image says about its stored pixels."""

from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

Alpha = Literal["", "straight", "premultiplied"]
NARROW = 8  # values that reach less than this part of the full range are nearly black in it


class PixelLayout(NamedTuple):
    """What the header of an image says about its stored pixels.

    Attributes:
        source: what holds the pixels, such as "a TIFF", for messages.
        channels: the number of channels, with the channel of transparency.
        dtype: NumPy's name of the type of a value, such as "uint16".
        bits: the number of bits of an integer in the file, such as 12; for floats, the number of bits of the dtype.
        alpha: whether the last channel is certainly the opacity of a pixel, and whether the colours are multiplied by
            it ("premultiplied"). Empty if no channel is certainly the opacity.
        white_is_zero: whether the smallest value stands for white.
    """

    source: str
    channels: int
    dtype: str = "uint8"
    bits: int = 8
    alpha: Alpha = ""
    white_is_zero: bool = False

    @property
    def text(self) -> str:
        """A description for messages, such as "a TIFF with 5 channels of float32"."""
        count = "one channel" if self.channels == 1 else f"{self.channels} channels"
        kind = self.dtype if np.dtype(self.dtype).kind == "f" else f"{self.dtype.rstrip('0123456789')}{self.bits}"
        return f"{self.source} with {count} of {kind}"

    @property
    def is_bytes(self) -> bool:
        """Whether the values are from 0 (black) to 255 (white), or the other way round."""
        return self.dtype == "uint8" and self.bits == 8

    @property
    def limits(self) -> tuple[int, int] | None:
        """The smallest and the largest value that the integers of the file can hold; None for floats."""
        kind = np.dtype(self.dtype).kind
        if kind == "f":
            return None
        return (0, 2**self.bits - 1) if kind == "u" else (-(2 ** (self.bits - 1)), 2 ** (self.bits - 1) - 1)


def array_layout(array: NDArray[Any]) -> PixelLayout:
    """Describe the pixels of an array (H, W, C); none of its channels is taken for transparency."""
    return PixelLayout("an array", array.shape[-1], str(array.dtype), array.dtype.itemsize * 8)


def fitting_interval(layout: PixelLayout, seen: tuple[int, int]) -> tuple[int, int] | None:
    """Return a range for integers that fill less than an eighth of the full range, which would be nearly black.

    Args:
        layout: the layout of the images.
        seen: the smallest and the largest value of the images.

    Returns:
        0 or a negative power of two, and a power of two less one, such as (0, 4095). None if the full range fits, if
        the values are those of 8 bits or floats, or if all of them are 0.
    """
    limits, reach = layout.limits, max(abs(seen[0]), abs(seen[1]))
    if limits is None or layout.is_bytes or not reach or reach >= (limits[1] - limits[0] + 1) / NARROW:
        return None
    power: int = 2 ** int(reach).bit_length()
    return (0 if seen[0] >= 0 else -power), power - 1
