"""The connected region of a label around a pixel."""

import numpy as np
from numpy.typing import NDArray

from hypercolumns.annotation.labels.pixel_runs import Runs, merge
from hypercolumns.errors import ArgumentError
from hypercolumns.labels import lowest_connected

MAX_RUNS = 1_000_000  # about 10 MiB of JSON, which a page can still send as an edit, see `requests.MAX_BODY`


def region_around(labels: NDArray[np.uint8], row: int, column: int) -> Runs:
    """Return the 4-connected region of equal labels that contains a pixel.

    The runs of the label in each row are connected with those that they touch in the next row. A noisy prediction of 12
    megapixels has millions of them, so they are connected all at once.

    Args:
        labels: (H, W).
        row: the row of the pixel.
        column: its column.

    Returns:
        The pixels of the region, in flat indices.

    Raises:
        ArgumentError: if the region has too many runs to be an edit.
    """
    width = labels.shape[1]
    same = np.zeros((labels.shape[0], width + 2), np.int8)
    same[:, 1:-1] = labels == labels[row, column]
    edges = np.diff(same, axis=1)
    rows, starts = np.nonzero(edges == 1)
    ends = np.nonzero(edges == -1)[1]
    line = width + 1  # positions of a row, so that the end of a row is not the start of the next one
    first, last = rows * line + starts, rows * line + ends
    low, high = np.searchsorted(last, first + line, "right"), np.searchsorted(first, last + line, "left")
    touching = np.maximum(high - low, 0)  # the runs low to high - 1, which are in the next row
    upper = np.repeat(np.arange(len(rows)), touching)
    lower = np.arange(len(upper)) - np.repeat(touching.cumsum() - touching, touching) + np.repeat(low, touching)
    region = lowest_connected(len(rows), upper, lower)
    found = region == region[np.searchsorted(first, row * line + column, "right") - 1]
    if found.sum() > MAX_RUNS:
        raise ArgumentError(
            f"the region is too ragged to be labelled at once ({found.sum():,} pieces of rows; {MAX_RUNS:,} at most); "
            f"label some more pixels first, so that the prediction becomes smoother"
        )
    return merge(np.stack([rows[found] * width + starts[found], (ends - starts)[found]], 1).astype(np.int64))
