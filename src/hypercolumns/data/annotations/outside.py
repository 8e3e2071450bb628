"""Count the objects that lie outside their image, which no pixel of a mask would show."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from hypercolumns.data.annotations.drawn_mask import DrawnMask
from hypercolumns.errors import ArgumentError

MAX_OUTSIDE_IMAGES = 0.2  # the largest fraction of the images with objects that may have all of them outside
MIN_OUTSIDE_IMAGES = 2
# if all objects of a set, at least two, lie in the first two pixels, their coordinates are fractions
MIN_RELATIVE, MAX_RELATIVE = 2, 2

Box = tuple[float, float, float, float]  # left, top, right and bottom, in pixels
# Takes an object as the tool describes it, and the (height, width) of the image. Returns a box that holds all pixels of
# the object; None if that is not known.
Extent = Callable[[Any, Sequence[int]], Box | None]


@dataclass
class OutsideCount:
    """Counts objects outside their images.

    Attributes:
        extent: the function that finds the box of an object.
        objects: the number of objects.
        outside: the number of objects outside their image.
        relative: the number of objects in the first pixels of a larger image.
        images: the number of images with objects.
        empty_images: the names of the images whose objects are all outside.
        first: the name of the first image with an object outside.
    """

    extent: Extent
    objects: int = 0
    outside: int = 0
    relative: int = 0
    images: int = 0
    empty_images: list[str] = field(default_factory=list)
    first: str = ""

    def add(self, mask: DrawnMask, objects: Iterable[Any]) -> None:
        """Count the objects of a mask, as the tool describes them."""
        if len(mask.shape) != 2:
            return
        boxes = [_box(self.extent, described, mask.shape) for described in objects]
        outside = [box is not None and _is_outside(box, mask.shape) for box in boxes]
        self.relative += sum(box is not None and max(box) <= MAX_RELATIVE < min(mask.shape) for box in boxes)
        count = sum(outside)
        self.objects += len(outside)
        self.outside += count
        self.images += bool(outside)
        if count:
            self.first = self.first or mask.image
        if outside and all(outside):
            self.empty_images.append(mask.image)

    def notes(self, source: str) -> list[str]:
        """Return a line for the user if there are objects outside.

        Args:
            source: the annotation files, for messages.

        Raises:
            ArgumentError: if all objects of many images are outside, as then the images are probably others than those
                that were annotated; or if the coordinates of all objects are probably fractions.
        """
        count = len(self.empty_images)
        if count >= MIN_OUTSIDE_IMAGES and count > MAX_OUTSIDE_IMAGES * self.images:
            raise ArgumentError(
                f"annotations={source}: all objects of {count} of {self.images} images lie outside their image, such "
                f"as those of {self.empty_images[0]}; if the images were cut or scaled, give those that were annotated "
                f"by data.images=, otherwise correct the objects"
            )
        if self.objects == self.relative >= MIN_RELATIVE:
            raise ArgumentError(
                f"annotations={source}: all {self.objects} objects lie in the first {MAX_RELATIVE} pixels of their "
                f"images, so their coordinates may be fractions of the width and height; write them in pixels"
            )
        if not self.outside:
            return []
        return [
            f"{self.outside} of {self.objects} objects lie outside their image and are not drawn, such as one of "
            f"{self.first}"
        ]


def box_of(points: Sequence[Sequence[float]], margin: float = 0) -> Box:
    """Return the box of points (x, y), enlarged by a margin on each side."""
    xs, ys = [point[0] for point in points], [point[1] for point in points]
    return min(xs) - margin, min(ys) - margin, max(xs) + margin, max(ys) + margin


def _box(extent: Extent, described: Any, shape: Sequence[int]) -> Box | None:
    try:
        return extent(described, shape)
    except (ValueError, TypeError, KeyError, IndexError, AttributeError):  # drawing the mask reports it
        return None


def _is_outside(box: Box, shape: Sequence[int]) -> bool:
    left, top, right, bottom = box
    return right <= 0 or bottom <= 0 or left >= shape[1] or top >= shape[0]
