"""Test-time augmentation: average the prediction over several views of an image."""

from collections.abc import Iterator
from dataclasses import dataclass

from hypercolumns.coordinates import ImageSize
from hypercolumns.errors import ArgumentError, check_bool

MAX_SCALE = 8.0  # maximum factor of an image's height and width


@dataclass(frozen=True)
class TestTimeAugmentation:
    """The views of an image over which a prediction is averaged: the image at each scale, with mirror images if `flip`.

    The backbone processes the views. Hypercolumns are interpolated at the pixels of the original image, so predictions
    need no resizing.

    >>> from hypercolumns import TestTimeAugmentation
    >>> tta = TestTimeAugmentation(scales=(0.75, 1.0), flip=True)
    >>> len(tta)
    4
    >>> list(tta.of((40, 60)))
    [((30, 45), False), ((30, 45), True), ((40, 60), False), ((40, 60), True)]

    Attributes:
        scales: factors for the height and width at which the backbone sees the image without augmentation. Each is
            above 0 and at most 8.
        flip: add a view mirrored left to right at each scale.

    Raises:
        ArgumentError: if there is no scale, a scale is given twice or is not a number above 0 and at most 8, or `flip`
            is no bool.
    """

    __test__ = False  # pytest would collect the class by its name otherwise
    scales: tuple[float, ...] = (1.0,)
    flip: bool = False

    def __post_init__(self) -> None:
        """Check the values and sort the scales."""
        check_bool("flip", self.flip)
        numbers = all(isinstance(scale, int | float) and not isinstance(scale, bool) for scale in self.scales)
        if not self.scales or not numbers or not all(0 < scale <= MAX_SCALE for scale in self.scales):
            raise ArgumentError(
                f"scales={list(self.scales)} must be a list of numbers above 0 and up to {MAX_SCALE:g}, such as "
                f"[0.75,1,1.25]"
            )
        # Settings with the same scales in another order are equal, because the scales are sorted.
        object.__setattr__(self, "scales", tuple(sorted(map(float, self.scales))))
        if len(set(self.scales)) < len(self.scales):
            raise ArgumentError(f"scales={list(self.scales)} names a scale twice; name each scale once")

    def __len__(self) -> int:
        """Return the number of views."""
        return len(self.scales) * (1 + self.flip)

    def of(self, size: ImageSize) -> Iterator[tuple[ImageSize, bool]]:
        """Yield the (height, width) of each view in pixels, and whether the view is mirrored.

        Args:
            size: (height, width) of the view at scale 1.
        """
        for scale in self.scales:
            for flipped in (False, True)[: 1 + self.flip]:
                yield (max(round(size[0] * scale), 1), max(round(size[1] * scale), 1)), flipped


NO_TTA = TestTimeAugmentation()
