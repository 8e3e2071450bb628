"""Draw the segmentations of COCO files: polygons, and run lengths along the columns of the image.

Polygons are drawn by pycocotools. Run lengths are decoded here, because `pycocotools.mask.decode` returns memory that
nobody has written if the run lengths describe fewer pixels than the image has.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hypercolumns.data.annotations.drawn_mask import Patch, check_points
from hypercolumns.data.annotations.outside import Box
from hypercolumns.errors import HypercolumnsError
from hypercolumns.io.images import PixelShape

LIBRARY = "pycocotools"  # draws polygons
BITS, MORE, SIGN = 5, 32, 16  # of a character of compressed run lengths, after 48 is subtracted


def draw_segmentation(segmentation: Any, shape: PixelShape) -> Patch:
    """Draw the segmentation of a COCO annotation.

    Args:
        segmentation: a list of polygons, each x, y, x, y and so on; or run lengths: an object with `size` and `counts`,
            which is a list or the text of compressed run lengths.
        shape: the (height, width) of the image.

    Returns:
        The columns of the image that contain the object.

    Raises:
        ValueError: if the segmentation is invalid, or for an image of another size.
        HypercolumnsError: if polygons must be drawn, but pycocotools is not installed.
    """
    if isinstance(segmentation, Mapping):
        size = [int(length) for length in segmentation["size"]]
        if size != [*shape]:
            raise ValueError(
                f"its run lengths are for an image of {size[1]}x{size[0]} pixels, but the image has "
                f"{shape[1]}x{shape[0]}"
            )
        counts = segmentation["counts"]
        runs = decode_counts(counts) if isinstance(counts, str) else np.array(counts, np.int64).reshape(-1)
        return _draw_runs(runs, shape)
    if not segmentation:
        raise ValueError("it has a box, but neither polygons nor run lengths")
    return draw_polygons(segmentation, shape)


def segmentation_box(segmentation: Any, shape: Sequence[int]) -> Box | None:
    """Return the box of polygons; None for run lengths, which can't lie outside the image."""
    if isinstance(segmentation, Mapping) or not segmentation:
        return None
    xs = [x for polygon in segmentation for x in polygon[0::2]]
    ys = [y for polygon in segmentation for y in polygon[1::2]]
    return min(xs), min(ys), max(xs), max(ys)


def draw_polygons(polygons: Sequence[Sequence[float]], shape: PixelShape) -> Patch:
    """Draw the union of polygons as pycocotools does.

    Args:
        polygons: the corners x, y, x, y and so on of each polygon, in pixels; (0, 0) is the corner of the image.
        shape: the (height, width) of the image.

    Returns:
        The columns of the image that contain the polygons.

    Raises:
        ValueError: if a polygon is invalid.
        HypercolumnsError: if pycocotools is not installed.
    """
    try:
        from pycocotools import mask  # only the extra `coco` installs this package
    except ImportError as error:
        raise HypercolumnsError(
            "polygons are drawn by pycocotools, which is not installed; install it: pip install pycocotools"
        ) from error
    corners = [np.array(polygon, np.float64) for polygon in polygons]
    for points in corners:
        if points.ndim != 1 or len(points) % 2 or len(points) < 6:
            raise ValueError(f"a polygon needs x and y of at least three corners, but one has {points.size} numbers")
        check_points(points.reshape(-1, 2), shape)
    codes = mask.frPyObjects([points.tolist() for points in corners], *shape)
    return _draw_runs(decode_counts((codes[0] if len(codes) == 1 else mask.merge(codes))["counts"]), shape)


def decode_counts(counts: str | bytes) -> NDArray[np.int64]:
    """Decode compressed run lengths.

    A number is written in characters of 5 bits each, the lowest bits first, and each number from the fourth on is the
    difference from the number two places before it.

    Returns:
        (N,) the number of pixels of each run; the first run is outside the object.

    Raises:
        ValueError: if the text can't be decoded.
    """
    text = counts.encode() if isinstance(counts, str) else counts
    codes = np.frombuffer(text, np.uint8).astype(np.int64) - 48
    if not len(codes) or codes.min() < 0 or codes.max() > 63 or codes[-1] & MORE:
        raise ValueError("its compressed run lengths are damaged")
    ends = (codes & MORE == 0).nonzero()[0]
    starts = np.concatenate([[0], ends[:-1] + 1])
    lengths = ends - starts + 1
    if lengths.max() > 7:
        raise ValueError("its compressed run lengths are damaged")
    places = np.arange(len(codes)) - starts.repeat(lengths)
    runs = np.add.reduceat((codes & MORE - 1) << BITS * places, starts)
    runs -= np.where(codes[ends] & SIGN, 1 << BITS * lengths, 0)
    runs[1::2] = runs[1::2].cumsum()
    runs[2::2] = runs[2::2].cumsum()
    return runs


def _draw_runs(runs: NDArray[np.int64], shape: PixelShape) -> Patch:
    """Draw run lengths along the columns of an image, and return the columns that contain the object.

    Raises:
        ValueError: if the lengths do not add up to the number of pixels.
    """
    height, width = shape
    if (runs < 0).any() or runs.sum() != height * width:
        raise ValueError(f"its run lengths do not add up to the {height * width} pixels of the image")
    ends = runs.cumsum()
    objects = runs[1::2].nonzero()[0]
    if not len(objects):
        return Patch(0, 0, np.zeros((height, 0), bool))
    first, last = 2 * objects[0] + 1, 2 * objects[-1] + 1
    left, right = ends[first - 1] // height, -(-ends[last] // height)
    lengths = np.concatenate([[ends[first - 1] - left * height], runs[first : last + 1], [right * height - ends[last]]])
    inside = np.arange(len(lengths)) % 2 == 1
    return Patch(0, int(left), inside.repeat(lengths).reshape(right - left, height).T)
