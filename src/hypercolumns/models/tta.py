"""Test-time augmentation: average the prediction over several views of an image."""

from collections.abc import Iterator
from dataclasses import dataclass

from hypercolumns.coordinates import ImageSize
from hypercolumns.errors import ArgumentError, check_bool

MAX_SCALE = 8.0  # maximum factor for an image's height and width


@dataclass(frozen=True)
class TestTimeAugmentation:
    """The views over which a prediction is averaged: an image at one or more scales, optionally with mirrored copies.

    The backbone processes each view. The hypercolumns of each view are interpolated at the pixels of the original
    image, so the predictions need no resizing.

    >>> from hypercolumns import TestTimeAugmentation
    >>> tta = TestTimeAugmentation(scales=(0.75, 1.0), flip=True)
    >>> len(tta)
    4
    >>> list(tta.of((40, 60)))
    [((30, 45), False), ((30, 45), True), ((40, 60), False), ((40, 60), True)]

    Attributes:
        scales: the scales of the views, each above 0 and at most 8. Scale 1 is the size at which the backbone sees the
            image without test-time augmentation. The order of the scales does not change the result.
        flip: whether to add, at each scale, a view that is mirrored left to right.

    Raises:
        ArgumentError: if `scales` is empty, names a scale twice, or contains anything but numbers above 0 and at most
            8; or if `flip` is not a bool.
    """

    __test__ = False  # pytest would collect the class by its name otherwise
    scales: tuple[float, ...] = (1.0,)
    flip: bool = False

    def __post_init__(self) -> None:
        """Check `scales` and `flip`, and sort the scales."""
        check_bool("flip", self.flip)
        numbers = all(isinstance(scale, int | float) and not isinstance(scale, bool) for scale in self.scales)
        if not self.scales or not numbers or not all(0 < scale <= MAX_SCALE for scale in self.scales):
            raise ArgumentError(
                f"scales={list(self.scales)} must be a list of numbers above 0 and at most {MAX_SCALE:g}, such as "
                f"[0.75,1,1.25]"
            )
        # Two objects with the same scales in another order are equal, because the scales are sorted.
        object.__setattr__(self, "scales", tuple(sorted(map(float, self.scales))))
        if len(set(self.scales)) < len(self.scales):
            raise ArgumentError(f"scales={list(self.scales)} names a scale twice; name each scale once")

    def __len__(self) -> int:
        """Return the number of views of an image."""
        return len(self.scales) * (1 + self.flip)

    def of(self, size: ImageSize) -> Iterator[tuple[ImageSize, bool]]:
        """Yield the size of each view, and whether the view is mirrored.

        Args:
            size: (height, width) of the view at scale 1, in pixels.

        Yields:
            ((height, width) of the view in pixels, True if the view is mirrored left to right).
        """
        for scale in self.scales:
            for flipped in (False, True)[: 1 + self.flip]:
                yield (max(round(size[0] * scale), 1), max(round(size[1] * scale), 1)), flipped


NO_TTA = TestTimeAugmentation()
