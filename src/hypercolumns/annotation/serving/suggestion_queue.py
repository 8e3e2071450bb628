"""Which images the model is least sure of, as far as is known."""

from collections.abc import Iterable
from typing import Any

from hypercolumns.annotation.labels.pixel_runs import to_runs
from hypercolumns.annotation.learning.suggestions import Region

MAX_CANDIDATES = 300  # images that are compared; the maps of each must be computed once
TRIED = 5  # images in which a region is looked for
TOLD_EVERY = 10  # measured margins


class SuggestionQueue:
    """The margins of images, and the region in which a label would teach most.

    Args:
        candidates: the numbers of the images to compare; of many, some that are evenly spaced are compared.

    Attributes:
        suggestion: the region, as the page gets it, or why there is none; None before anything was looked for.
    """

    def __init__(self, candidates: Iterable[int]) -> None:
        numbers = [*candidates]
        step = max(-(-len(numbers) // MAX_CANDIDATES), 1)
        self._margins: dict[int, float] = {}
        self._versions = dict.fromkeys(numbers[::step], 0)
        self._region_version = self._measured = self._untold = 0
        self.suggestion: dict[str, Any] | None = None

    def leave_out(self, number: int) -> None:
        """Suggest an image no more."""
        self._versions.pop(number, None)
        self._margins.pop(number, None)

    def margins(self) -> dict[int, float]:
        """Return how sure the model is of each image that was measured, by number; any thread may ask."""
        return self._margins.copy()  # at once, so that no other thread changes it meanwhile

    def next_margin(self, version: int) -> int | None:
        """Return the image to measure next: those of unknown margin first, then those the model was least sure of."""
        old = [number for number, measured in self._versions.items() if measured != version]
        return min(old, key=lambda number: (number in self._margins, self._margins.get(number, 0.0)), default=None)

    def set_margin(self, number: int, margin: float, version: int) -> None:
        """Set how sure a version of the model is of an image.

        Args:
            number: the image.
            margin: the mean margin, see `View`.
            version: the version of the model.
        """
        self._margins[number], self._versions[number] = margin, version
        self._untold += 1
        self._measured += 1

    def worth_telling(self) -> bool:
        """Whether many margins have changed since this method returned true."""
        told = self._untold >= TOLD_EVERY
        self._untold *= not told
        return told

    def wants_region(self, version: int) -> bool:
        """Whether a region should be looked for: with this version of the model, or in images measured since then."""
        if not self._margins:
            return False
        all_measured = self._measured > 0 and self.next_margin(version) is None
        return self._region_version != version or self._measured >= TOLD_EVERY or all_measured

    def is_old(self, number: int, version: int) -> bool:
        """Whether the margin of an image is not that of this version of the model."""
        return self._versions.get(number) != version

    def most_useful(self) -> list[int]:
        """Return some images that the model is least sure of, the least sure one first."""
        return sorted(self._margins, key=lambda number: self._margins[number])[:TRIED]

    def set_region(self, version: int, suggestion: dict[str, Any]) -> None:
        """Set what was found with a version of the model."""
        self._region_version, self._measured, self.suggestion = version, 0, suggestion


def describe_region(number: int, region: Region, width: int) -> dict[str, Any]:
    """Return a region as the page gets it.

    Args:
        number: the image.
        region: the region.
        width: the width of the image, in pixels.

    Returns:
        A JSON value.
    """
    rows, columns = region.mask.nonzero(as_tuple=True)
    height, across = region.mask.shape
    indices = (rows + region.top) * width + columns + region.left
    return {
        "image": number,
        "value": region.value,
        "runs": to_runs(indices.numpy()).ravel().tolist(),
        "box": [region.top, region.left, region.top + height, region.left + across],
        "margin": region.margin,
    }
