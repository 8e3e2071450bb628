"""The connected region of a label around a pixel."""

import numpy as np
from numpy.typing import NDArray

from hypercolumns.annotation.labels.pixel_runs import Runs, merge


def region_around(labels: NDArray[np.uint8], row: int, column: int) -> Runs:
    """Return the 4-connected region of equal labels that contains a pixel.

    The runs of the label in each row are the nodes of a graph, so large regions are quick.

    Args:
        labels: (H, W).
        row: the row of the pixel.
        column: its column.

    Returns:
        The pixels of the region, in flat indices.
    """
    width = labels.shape[1]
    same = np.zeros((labels.shape[0], width + 2), np.int8)
    same[:, 1:-1] = labels == labels[row, column]
    edges = np.diff(same, axis=1)
    rows, starts = np.nonzero(edges == 1)
    ends = np.nonzero(edges == -1)[1]
    first = np.searchsorted(rows, np.arange(labels.shape[0] + 1))  # of the runs of each row
    seed = int(first[row] + np.searchsorted(starts[first[row] : first[row + 1]], column, "right") - 1)
    found = np.zeros(len(rows), bool)
    found[seed] = True
    pending = [seed]
    while pending:
        run = pending.pop()
        for near in (rows[run] - 1, rows[run] + 1):
            if 0 <= near < labels.shape[0]:
                low, high = first[near], first[near + 1]
                start = low + np.searchsorted(ends[low:high], starts[run], "right")
                stop = low + np.searchsorted(starts[low:high], ends[run], "left")
                for touching in range(start, stop):
                    if not found[touching]:
                        found[touching] = True
                        pending.append(touching)
    flat = rows[found] * width + starts[found]
    return merge(np.stack([flat, ends[found] - starts[found]], 1).astype(np.int64))
