"""A mask that is drawn from the objects that an annotation file lists for one image."""

import hashlib
import json
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hypercolumns.data.annotations.drawing_library import library_version
from hypercolumns.data.annotations.drawn_form import drawn_form
from hypercolumns.errors import HypercolumnsError, check_choice
from hypercolumns.io import tiff
from hypercolumns.io.images import PixelShape
from hypercolumns.io.mask_source import MaskPixels
from hypercolumns.io.orientation import UPRIGHT

VOID_VALUE = 65535  # the value of void pixels in masks that are drawn; a data set has fewer classes
MAX_OUTSIDE = 10  # a coordinate may lie outside the image by this many times its width or height
OVERLAPS = ("order", "smaller_on_top")  # the setting `data.overlaps`
VERSION = 1  # increase it when a mask is drawn with other pixels than before


class Patch(NamedTuple):
    """The pixels of an object, in the part of the image that contains them.

    Attributes:
        top: the row of the patch's first row in the image.
        left: the column of the patch's first column in the image.
        inside: (h, w) bool, true where the object is.
    """

    top: int
    left: int
    inside: NDArray[np.bool_]


# Takes an object as the tool describes it, as JSON values, and the (height, width) of the image. Raises ValueError if
# the object can't be drawn; the message says what is wrong and what to do.
Draw = Callable[[Any, PixelShape], Patch]


@dataclass(frozen=True)
class DrawnMask:
    """The mask of one image, drawn from objects, see `MaskSource`.

    Attributes:
        path: the annotation file.
        image: the path of the image, for messages.
        shape: the (height, width) of the image; () if neither the file nor the image says it.
        objects: a JSON list of [value, object], in the order in which they are drawn.
        draw: the function that draws an object.
        fill: the value of the pixels that no object covers.
        overlaps: `order`: later objects lie on top; `smaller_on_top`: objects with fewer pixels lie on top, and of
            equal ones the later, and void objects lie below all others.
        annotated: whether a person has annotated the image.
        orientation: the EXIF orientation by which the mask is turned after it is drawn, see `tiff.turn`.
        library: the package that draws the objects; "": this project alone.
        layers: for each object, the layer that it belongs to. The file does not say in which order the objects of
            different layers were drawn. (): the order of all objects is known.
    """

    path: Path
    image: str
    shape: PixelShape
    objects: bytes
    draw: Draw
    fill: int
    overlaps: str = "order"
    annotated: bool = True
    orientation: int = UPRIGHT
    library: str = ""
    layers: tuple[str, ...] = ()

    def __str__(self) -> str:
        """Return the name of the mask for messages."""
        return f"{self.path} (image {self.image})"

    def size(self) -> PixelShape:
        """Return the (height, width) of the mask, see `MaskSource`."""
        if not self.annotated:
            raise HypercolumnsError(
                f"{self}: the image is not annotated; annotate it, or set data.unlabelled=skip to leave it out"
            )
        if len(self.shape) != 2 or not all(0 < length < 1 << 20 for length in self.shape):
            raise HypercolumnsError(
                f"{self}: no size of the image is known; write its height and width, or add the image file"
            )
        return self.shape

    def decode(self) -> MaskPixels:
        """Draw the mask, see `MaskSource`."""
        size = self.size()
        objects = json.loads(self.objects)
        patches: Iterable[tuple[int, Patch]] = (
            (value, self._patch(number, described, size)) for number, (value, described) in enumerate(objects, 1)
        )
        if self.overlaps == "smaller_on_top":
            patches = sorted(patches, key=lambda drawn: (drawn[0] != VOID_VALUE, -np.count_nonzero(drawn[1].inside)))
        elif self.layers:
            patches = list(patches)
            self._check_order(patches, size)
        values = _compose(patches, size, self.fill)
        return MaskPixels(np.ascontiguousarray(tiff.turn(values, self.orientation)), (), 16)

    def digest(self) -> str:
        """Return a hash of all that decides the pixels, see `MaskSource`."""
        rule = [VERSION, self.draw.__name__, self.shape, self.fill, self.overlaps, self.annotated]
        rule += [self.orientation, self.library and library_version(self.library), self.layers]
        return hashlib.sha256(repr(rule).encode() + self.objects).hexdigest()

    def signature(self) -> str:
        """Return a hash that changes with the mask, see `MaskSource`."""
        return self.digest()

    def _check_order(self, patches: Sequence[tuple[int, Patch]], size: PixelShape) -> None:
        """Raise HypercolumnsError if objects of two layers and two classes overlap, as their order is not known."""
        top = np.full(size, -1)  # the number of the last object that covers each pixel
        for number, (value, (above, left, inside)) in enumerate(patches):
            part = top[above : above + inside.shape[0], left : left + inside.shape[1]]
            for other in np.unique(part[inside & (part >= 0)]).tolist():
                if self.layers[other] != self.layers[number] and patches[other][0] != value:
                    raise HypercolumnsError(
                        f"{self}: regions of {self.layers[other]} and {self.layers[number]} overlap, and the format "
                        f"JSON_MIN does not say which of them lies on top; export the project in the format JSON, or "
                        f"set data.overlaps=smaller_on_top"
                    )
            part[inside] = number

    def _patch(self, number: int, described: Any, size: PixelShape) -> Patch:
        try:
            return self.draw(described, size)
        except HypercolumnsError:
            raise
        except (ValueError, TypeError, KeyError, IndexError, AttributeError, OverflowError) as error:
            reason = error if isinstance(error, ValueError) else f"it has another form than expected ({error!r})"
            raise HypercolumnsError(
                f"{self}: object {number} can't be drawn: {reason}; correct or remove the object in the annotation tool"
            ) from error


def drawn_mask(
    path: Path,
    image: Path,
    shape: Sequence[Any],
    objects: Sequence[tuple[int, Any]],
    draw: Draw,
    fill: int,
    overlaps: str = "order",
    annotated: bool = True,
    void_below: bool = True,
    orientation: str = "auto",
    library: str = "",
    layers: Sequence[str] = (),
) -> DrawnMask:
    """Make the mask of one image from the objects in an annotation file.

    Args:
        path: the annotation file.
        image: the image file. Its header is read if the annotation file does not say the size.
        shape: the (height, width) of the image, as the annotation file says them; None for what it does not say.
        objects: the value and the description of each object, as JSON values, in the order of the file.
        draw: the function that draws an object.
        fill: the value of the pixels that no object covers.
        overlaps: what lies on top, see `DrawnMask`.
        annotated: whether a person has annotated the image.
        void_below: whether void objects lie below all others, as crowds do, and not where they are in the file.
        orientation: on which form of an image with an EXIF orientation objects were drawn, see `drawn_form`.
        library: the package that draws the objects; "": this project alone.
        layers: the layers of the objects, see `DrawnMask`; those of several layers then have no void objects.

    Returns:
        The mask. The objects are not checked yet.

    Raises:
        ArgumentError: if it is not known on which form of the image the objects were drawn.
    """
    check_choice("overlaps", overlaps, OVERLAPS)
    lengths = [_length(given) for given in shape]
    size = tuple(length for length in lengths if length is not None)
    size, turn = drawn_form(path, image, size, orientation, bool(objects)) if annotated else (size, UPRIGHT)
    ordered = sorted(objects, key=lambda item: void_below and item[0] != VOID_VALUE)
    packed = json.dumps(ordered, separators=(",", ":")).encode()
    unordered = tuple(layers) if len(set(layers)) > 1 else ()
    used = library if objects else ""
    return DrawnMask(path, str(image), size, packed, draw, fill, overlaps, annotated, turn, used, unordered)


def not_annotated(path: Path, image: Path, draw: Draw, fill: int) -> DrawnMask:
    """Make the mask of an image that nobody has annotated yet.

    Args:
        path: the annotation file, or the one that the image would have.
        image: the image file.
        draw: the function that draws an object.
        fill: the value of the pixels that no object covers.

    Returns:
        The mask, which can't be drawn.
    """
    return DrawnMask(path, str(image), (), b"[]", draw, fill, annotated=False)


def point_array(points: Any) -> NDArray[np.float64]:
    """Return points as an array (N, 2) of x and y.

    Raises:
        ValueError: if a point does not have two numbers, such as one with a third one for its visibility.
    """
    for point in points:
        if len(point) != 2:
            raise ValueError(f"a point needs two numbers, x and y, but one has {len(point)}")
    return np.array(points, np.float64).reshape(-1, 2)


def check_points(points: NDArray[np.float64], shape: PixelShape) -> None:
    """Check the corners of an object, which must not lie far outside the image.

    Drawing programs need memory and time for each pixel of an edge, also outside the image.

    Args:
        points: (N, 2), the x and y of each corner.
        shape: the (height, width) of the image.

    Raises:
        ValueError: if a coordinate is not finite, or lies far outside the image.
    """
    limit = np.array([shape[1], shape[0]]) * (MAX_OUTSIDE + 1)
    if not (np.isfinite(points).all() and (np.abs(points) <= limit).all()):
        raise ValueError(f"its corners lie far outside the image of {shape[1]}x{shape[0]} pixels")


def _length(given: Any) -> int | None:
    """Return a height or a width as a number, also if it is written as a text; None if it is neither."""
    if isinstance(given, str) and given.strip().isdecimal():
        return int(given)
    return int(given) if isinstance(given, int | float) and math.isfinite(given) else None


def _compose(patches: Iterable[tuple[int, Patch]], shape: PixelShape, fill: int) -> NDArray[np.uint16]:
    """Draw patches over each other.

    Args:
        patches: the value and the pixels of each object, from the lowest to the top.
        shape: the (height, width) of the image.
        fill: the value of pixels that no patch covers.

    Returns:
        (H, W) uint16.
    """
    values: NDArray[np.uint16] | None = None
    for value, (top, left, inside) in patches:
        if values is None:  # in the memory order of the patches, which is faster
            order = "F" if inside.flags.f_contiguous and not inside.flags.c_contiguous else "C"
            values = np.full(shape, fill, np.uint16, order=order)  # type: ignore[call-overload]
        height, width = inside.shape
        np.copyto(values[top : top + height, left : left + width], np.uint16(value), where=inside)
    return np.full(shape, fill, np.uint16) if values is None else np.ascontiguousarray(values)
