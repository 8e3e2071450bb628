"""Check that the range of an image's type fits the values of a data set, and say when values are stretched."""

import itertools
from dataclasses import replace

import numpy as np

from hypercolumns.data.index import DatasetIndex
from hypercolumns.errors import HypercolumnsError
from hypercolumns.io.decoding import FULL_RANGE, UnknownRangeError, shown
from hypercolumns.io.images import image_size
from hypercolumns.io.pixel_layout import PixelLayout, fitting_interval
from hypercolumns.io.stored import integer_limits

MAX_LOOKED_AT = 20  # the largest number of images whose values are read


def check_values(images: DatasetIndex) -> None:
    """Look at the values of some images that have more than 8 bits, if `range` is not given or the full range.

    Images that can't be read are left to the other checks.

    Args:
        images: the data set.

    Raises:
        HypercolumnsError: if the full range would make the images nearly black, or if no range is given and one fits
            the values; the message names it.
    """
    decoding = images.decoding
    if decoding.range not in (None, FULL_RANGE):
        return
    pairs = list(itertools.chain(*images.splits.values()))
    chosen = np.linspace(0, len(pairs) - 1, min(MAX_LOOKED_AT, len(pairs))).astype(int)
    deep: list[tuple[object, PixelLayout, int, int]] = []
    for path in (pairs[number].image for number in chosen):
        try:
            limits = integer_limits(path, decoding)
        except HypercolumnsError:
            continue
        if limits is not None:
            (low, high), layout = limits
            deep.append((path, layout, low, high))
    if not deep:
        return
    path, layout = deep[0][:2]
    seen = min(low for *_, low, _ in deep), max(high for *_, high in deep)
    if fitting_interval(layout, seen) is None:
        return
    if decoding.range is None:
        raise HypercolumnsError(f"data {images.name}: {decoding.unknown_range(layout, path, seen)}")
    raise HypercolumnsError(
        f"data {images.name}: {decoding.prefix}range={FULL_RANGE} would make the images nearly black: {path} is "
        f"{layout.text}, and the values of {len(deep)} such images are from {seen[0]} to {seen[1]}; set "
        f"{decoding.range_choices(layout, seen)}; {decoding.prefix}range={shown(layout.limits)} keeps the full range"
    )


def stretch_note(images: DatasetIndex) -> str | None:
    """Say that images of more than 8 bits are stretched by percentiles, as a recipe may have chosen.

    Only the first image is looked at. Return None if it has 8 bits or can't be read, or if no percentiles are set.
    """
    decoding, pair = images.decoding, next(itertools.chain(*images.splits.values()), None)
    if decoding.percentiles is None or pair is None:
        return None
    try:
        image_size(pair.image, decoding=replace(decoding, range=None))
    except UnknownRangeError:
        return (
            f"{pair.image} has more than 8 bits, or floats; {decoding.prefix}range={shown(decoding.range)} stretches "
            f"each image by itself, and {decoding.prefix}range=[low,high] would keep their brightness comparable"
        )
    except HypercolumnsError:
        pass  # the check of the files reports it
    return None
