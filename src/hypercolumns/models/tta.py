"""Test-time augmentation: the views of an image that a prediction is averaged over."""

from collections.abc import Iterator
from dataclasses import dataclass

from hypercolumns.coordinates import ImageSize
from hypercolumns.errors import ArgumentError, check_bool

MAX_SCALE = 8.0  # times as many pixels on a side


@dataclass(frozen=True)
class TestTimeAugmentation:
    """Each image at several scales, and each of them flipped left to right as well if `flip`.

    The CNN sees the views; hypercolumns are read at the pixels of the image itself, so nothing has to be resized back.

    >>> len(TestTimeAugmentation(scales=(0.75, 1.0), flip=True))
    4
    """

    __test__ = False  # it is no test, whatever pytest makes of the name
    scales: tuple[float, ...] = (1.0,)
    flip: bool = False

    def __post_init__(self) -> None:
        """Raise ArgumentError for values out of range."""
        check_bool("flip", self.flip)
        numbers = all(isinstance(scale, int | float) and not isinstance(scale, bool) for scale in self.scales)
        if not self.scales or not numbers or not all(0 < scale <= MAX_SCALE for scale in self.scales):
            raise ArgumentError(
                f"scales={list(self.scales)} must be a list of numbers above 0 and up to {MAX_SCALE:g}, such as "
                f"[0.75,1,1.25]"
            )
        object.__setattr__(self, "scales", tuple(sorted(map(float, self.scales))))  # one spelling of the same views
        if len(set(self.scales)) < len(self.scales):
            raise ArgumentError(f"scales={list(self.scales)} names a scale twice; give each of them once")

    def __len__(self) -> int:
        """How many there are."""
        return len(self.scales) * (1 + self.flip)

    def of(self, size: ImageSize) -> Iterator[tuple[ImageSize, bool]]:
        """The (height, width) of each view of an image that the CNN would see at `size`, and whether it is flipped."""
        for scale in self.scales:
            for flipped in (False, True)[: 1 + self.flip]:
                yield (max(round(size[0] * scale), 1), max(round(size[1] * scale), 1)), flipped


NO_TTA = TestTimeAugmentation()
