"""Decode the run lengths of Label Studio's brush, which are those of the JavaScript package @thi.ng/rle-pack."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

CHANNELS = 4  # red, green, blue and alpha of each pixel
HEADER = 32 + 5 + 4 * 4  # bits: the number of values, the width of a value, and four widths of a length


def decode_brush(code: Sequence[int], expected: int) -> NDArray[np.uint8]:
    """Decode run lengths.

    After the header, each run begins with a bit that says whether its values are equal, two bits that choose the width
    of its length, and its length less one. One value follows, or all values one after the other.

    Args:
        code: bytes, as numbers from 0 to 255.
        expected: the number of values.

    Returns:
        (N,) the values.

    Raises:
        ValueError: if the code is damaged, or has another number of values.
    """
    octets = np.array(code, np.int64)
    if octets.ndim != 1 or (octets < 0).any() or (octets > 255).any():
        raise ValueError("its run lengths must be a list of numbers from 0 to 255")
    bits = np.unpackbits(octets.astype(np.uint8))
    text = (bits + ord("0")).tobytes().decode()
    if len(text) < HEADER:
        raise ValueError("its run lengths are cut off")
    count, width = int(text[:32], 2), int(text[32:37], 2) + 1
    if (count, width) != (expected, 8):
        raise ValueError(
            f"its run lengths describe {count} values of {width} bits, but the image has {expected} of 8 bits (4 for "
            f"each pixel)"
        )
    widths = [int(text[start : start + 4], 2) + 1 for start in range(37, HEADER, 4)]
    runs: list[NDArray[np.uint8]] = []
    done, position = 0, HEADER
    while done < count:
        begin = position + 3
        end = begin + widths[int(text[position + 1 : begin] or "0", 2)]
        if end + width > len(text):
            raise ValueError("its run lengths are cut off")
        length = int(text[begin:end], 2) + 1
        number = 1 if text[position] == "1" else length
        position = end + width * number
        values = np.packbits(bits[end:position])
        if len(values) < number or done + length > count:
            raise ValueError("its run lengths are damaged")
        runs.append(values.repeat(length) if number == 1 else values)
        done += length
    return np.concatenate([np.zeros(0, np.uint8), *runs])


def decode_alpha(code: Sequence[int], height: int, width: int) -> NDArray[np.uint8]:
    """Decode run lengths of an image and return its channel alpha: how opaque the brush is.

    Args:
        code: the run lengths, see `decode_brush`.
        height: the height of the image.
        width: the width of the image.

    Returns:
        (H, W) uint8.

    Raises:
        ValueError: if the code is damaged, or of an image with another number of pixels.
    """
    values = decode_brush(code, CHANNELS * height * width)
    return values.reshape(height, width, CHANNELS)[:, :, CHANNELS - 1]
