"""The values that image files store, before any rule maps them to 8 bits."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from hypercolumns.errors import HypercolumnsError
from hypercolumns.io.decoding import FULL_RANGE, ImageDecoding, UnknownRangeError
from hypercolumns.io.images import FORMATS, opened_file, start_of, tiff_pages, tiff_values
from hypercolumns.io.pixel_layout import PixelLayout
from hypercolumns.io.pixels import is_deep_png, pillow_layout, pillow_values, read_deep_png
from hypercolumns.io.tiff import hide_no_data
from hypercolumns.io.tiff_tags import is_tiff


def integer_limits(path: Path, decoding: ImageDecoding) -> tuple[tuple[int, int], PixelLayout] | None:
    """Read the smallest and the largest integer that an image file stores, in the channels that the rules choose.

    An image of 8 bits needs no `range`. Its header shows this, so its pixels are not read.

    Args:
        path: the file.
        decoding: the rules; their `range` has no effect.

    Returns:
        The two values, (0, 0) if no value has a meaning; and the layout of the image. None for 8 bits. Neither a
        certain transparency that `channels` does not choose nor the value that GDAL's tag calls no data is counted.

    Raises:
        HypercolumnsError: if the file can't be read by the rules, or holds floats.
    """
    rules = replace(decoding, range=FULL_RANGE)
    values: NDArray[Any]
    with opened_file(path, FORMATS) as file:
        if is_tiff(start_of(file)):
            pages, layout = tiff_pages(file, path, rules)
            if layout.is_bytes:
                return None
            values = np.concatenate([hide_no_data(tiff_values(file, page), pages[0]) for page in pages], axis=-1)
        else:
            with Image.open(file, formats=FORMATS) as image:
                layout = pillow_layout(image, path)
                rules.check(layout, path)
                if layout.is_bytes:
                    return None
                if is_deep_png(image):
                    values = read_deep_png(image, path)
                else:
                    image.load()
                    values = pillow_values(image, layout)
    chosen = rules.choose(values, layout)
    meant = chosen[np.isfinite(chosen)]
    return (int(meant.min()), int(meant.max())) if meant.size else (0, 0), layout


def name_values(path: Path, decoding: ImageDecoding, error: UnknownRangeError) -> HypercolumnsError:
    """Complete the error about an image without a range by the range that fits its values.

    Args:
        path: the file.
        decoding: the rules that refused it.
        error: the error.

    Returns:
        The completed error, or `error` if the values can't be read, or are floats.
    """
    try:
        limits = integer_limits(path, decoding)
    except HypercolumnsError:
        return error
    if limits is None:
        return error
    seen, layout = limits
    return decoding.unknown_range(layout, path, seen)
