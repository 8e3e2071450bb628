"""Suggest where a label would teach most: a region of one predicted class that the model is least sure of."""

from enum import StrEnum
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from hypercolumns.annotation.learning.views import View
from hypercolumns.labels import connected_regions

GRID = 120  # the larger number of rows or columns of the grid on which regions are looked for
MIN_SHARE, MAX_SHARE = 1 / 500, 1 / 4  # of the image's pixels, of a region that is suggested


class Readiness(StrEnum):
    """Whether there is a model that can say where a label would teach most.

    Attributes:
        NO_LABELS: no pixel has a label.
        UNTRAINED: pixels have labels, but no step was trained since the first of them.
        READY: there is a model. If nothing is suggested, images are yet to be compared, or no region has a useful size.
    """

    NO_LABELS = "no labels"
    UNTRAINED = "untrained"
    READY = "ready"


class Region(NamedTuple):
    """A connected region of one predicted class.

    Attributes:
        value: the class index.
        margin: the mean margin of the region's pixels, see `View`.
        top: the first row of the box around the region.
        left: the first column of the box.
        mask: (height, width) bool, which pixels of the box belong to the region.
    """

    value: int
    margin: float
    top: int
    left: int
    mask: Tensor


def mean_over_classes(classes: Tensor, margins: Tensor) -> float:
    """Return the mean over the predicted classes of the mean margin of their pixels.

    A large class would decide the plain mean alone. Labels of small classes teach more, because few strokes have them.

    Args:
        classes: (n,), the predicted classes.
        margins: (n,), the margins in [0, 1].

    Returns:
        The mean, in [0, 1].
    """
    which = classes.unique(return_inverse=True)[1]
    counts = which.bincount()
    return float((torch.zeros(len(counts)).index_add_(0, which, margins) / counts).mean())


def grid_lines(length: int, count: int) -> Tensor:
    """Return at most `count` pixels of an axis, spread evenly: the centres of equal parts, rounded down."""
    count = min(count, length)
    return ((torch.arange(count) + 0.5) * length / count).long()


def suggestion_grid(size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Return the rows and columns of the grid on which the regions of an image (height, width) are looked for."""
    longest = max(size)
    rows, columns = (grid_lines(length, max(round(GRID * length / longest), 1)) for length in size)
    return rows, columns


def least_sure_region(
    view: View, rows: Tensor, columns: Tensor, labelled: Tensor, size: tuple[int, int]
) -> Region | None:
    """Return the region of one predicted class with the lowest mean margin.

    Args:
        view: the prediction on a grid.
        rows: (h,), the rows of the grid, as `suggestion_grid` returns them.
        columns: (w,), its columns.
        labelled: (h, w) bool, the grid's pixels that have labels, which no region covers.
        size: (height, width) of the image, in pixels.

    Returns:
        The region, at the resolution of the image; None if no region has a useful size.
    """
    labels = torch.where(labelled, 255, view.labels).numpy()
    regions = [each for each in connected_regions(labels) if MIN_SHARE <= len(each) / labels.size <= MAX_SHARE]
    if not regions:
        return None
    margins = [float(view.margins[tuple(torch.from_numpy(region.T))].mean()) for region in regions]
    best = int(np.argmin(margins))
    down, across = regions[best].T
    inside = torch.zeros(labels.shape, dtype=torch.bool)
    inside[down, across] = True
    edges = [_edges(line, length) for line, length in zip((rows, columns), size, strict=True)]
    box = [slice(int(line.min()), int(line.max()) + 1) for line in (down, across)]
    heights, widths = (edge.diff()[part] for edge, part in zip(edges, box, strict=True))
    mask = inside[box[0], box[1]].repeat_interleave(heights, 0).repeat_interleave(widths, 1)
    return Region(
        int(labels[down[0], across[0]]), margins[best], int(edges[0][box[0].start]), int(edges[1][box[1].start]), mask
    )


def _edges(lines: Tensor, length: int) -> Tensor:
    """Return the edges (n + 1,) between the pixels that are nearest to each of n lines of a grid."""
    middles = (lines[1:] + lines[:-1] + 1) // 2
    return torch.cat([middles.new_zeros(1), middles, middles.new_full((1,), length)])
