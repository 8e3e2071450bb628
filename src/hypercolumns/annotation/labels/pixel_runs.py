"""Sets of pixels as runs: pairs (start, length) of flat indices, row after row.

A stroke of a thousand pixels is a few dozen runs, so runs are what the page, the journal and the undo history hold.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hypercolumns.errors import ArgumentError

MAX_INDEX = 1 << 40  # no image has as many pixels; larger numbers would overflow in sums
Indices = NDArray[np.int64]  # flat indices of pixels, increasing
Runs = NDArray[np.int64]  # (N, 2): first index and length of each run; in order, and apart from each other


class Change(NamedTuple):
    """Pixels that get the same label.

    Attributes:
        value: the label: a class index, or 255 for not labelled.
        runs: the pixels.
    """

    value: int
    runs: Runs

    def as_json(self) -> dict[str, object]:
        """Return the change as the JSON value that the page and the journal hold."""
        return {"value": self.value, "runs": self.runs.ravel().tolist()}


def parse_runs(given: object, pixels: int) -> Runs:
    """Check runs from outside, and put them in order. Runs may overlap.

    Args:
        given: a flat list [start, length, start, length, ...].
        pixels: the number of pixels of the image.

    Returns:
        The runs, (N, 2), in order; runs that touch or overlap are one.

    Raises:
        ArgumentError: if `given` is no such list, or a run lies outside of the image.
    """
    expected = f"runs must be a list start, length, start, length, ... of pixels from 0 to {pixels - 1}"
    if not isinstance(given, Sequence) or isinstance(given, str) or len(given) % 2:
        raise ArgumentError(expected)
    if any(type(number) is not int or not 0 <= number < MAX_INDEX for number in given):
        raise ArgumentError(f"{expected}, in whole numbers")
    runs = np.array(given, np.int64).reshape(-1, 2)
    starts, lengths = runs.T
    if len(runs) and (lengths.min() < 1 or (starts + lengths).max() > pixels):
        raise ArgumentError(f"{expected}; the length of a run is at least 1, and its end in the image")
    return merge(runs)


def merge(runs: Runs) -> Runs:
    """Put runs (N, 2) in order, and make one run of those that touch or overlap."""
    if len(runs) < 2:
        return runs
    runs = runs[runs[:, 0].argsort(kind="stable")]
    ends = np.maximum.accumulate(runs.sum(1))
    first = np.r_[True, runs[1:, 0] > ends[:-1]]
    starts = runs[first, 0]
    last = np.r_[ends[:-1][first[1:]], ends[-1]]
    return np.stack([starts, last - starts], 1)


def to_indices(runs: Runs) -> Indices:
    """Return the flat indices of the pixels of runs, in order."""
    lengths = runs[:, 1]
    before = np.cumsum(lengths) - lengths
    return np.repeat(runs[:, 0] - before, lengths) + np.arange(lengths.sum())


def to_runs(indices: Indices) -> Runs:
    """Return the runs of increasing flat indices."""
    if not len(indices):
        return np.empty((0, 2), np.int64)
    breaks = np.flatnonzero(np.diff(indices) != 1) + 1
    starts = indices[np.r_[0, breaks]]
    lengths = np.diff(np.r_[0, breaks, len(indices)])
    return np.stack([starts, lengths], 1)


def changes_of(labels: NDArray[np.uint8], indices: Indices) -> list[Change]:
    """Return the labels of some pixels as changes that would set them, one for each value.

    Args:
        labels: the labels of the image, (H, W).
        indices: the flat indices of the pixels, increasing.

    Returns:
        The changes, in the order of their values.
    """
    values = labels.ravel()[indices]
    return [Change(int(value), to_runs(indices[values == value])) for value in np.unique(values)]
