"""Predict all pixels from the logits of some: PointRend's adaptive subdivision (arXiv:1912.08193, section 3.1).

A coarse grid of pixels is classified. A block between four of them is split into four if their classes disagree, or if
the two highest logits of one of them are close; this repeats down to single pixels. All other blocks are filled with
the class of their corners.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from hypercolumns.errors import ArgumentError, check_int, check_number
from hypercolumns.models.alignment import FeatureMap
from hypercolumns.models.engine.dense import Head
from hypercolumns.models.engine.points import PointClassifier

PixelLogits = Callable[[Tensor, Tensor], Tensor]  # rows (N,) and columns (N,) of pixels to logits (N, classes)
MAX_STRIDE = 256  # pixels


@dataclass(frozen=True)
class AdaptiveSettings:
    """Settings of adaptive subdivision: the first grid, and the blocks that are split.

    >>> from hypercolumns import AdaptiveSettings
    >>> AdaptiveSettings(stride=16)
    AdaptiveSettings(stride=16, margin=0.5)

    Attributes:
        stride: the distance in pixels between the pixels of the first grid; a power of two, up to 256.
        margin: a block is split if the difference between the two highest logits of any corner is below it, even if the
            corners agree; at least 0.

    Raises:
        ArgumentError: for values out of range.
    """

    stride: int = 8
    margin: float = 0.5

    def __post_init__(self) -> None:
        """Check the values."""
        check_int("stride", self.stride, minimum=1)
        if self.stride & (self.stride - 1) or self.stride > MAX_STRIDE:
            raise ArgumentError(f"stride={self.stride} must be a power of two, such as 8, up to {MAX_STRIDE}")
        check_number("margin", self.margin)


def adaptive_labels(
    maps: Sequence[FeatureMap],
    rows: slice,
    columns: slice,
    weight: Tensor,
    bias: Tensor,
    head: Head,
    settings: AdaptiveSettings,
) -> Tensor:
    """Predict the classes of a rectangle of pixels by adaptive subdivision.

    Args:
        maps: of one image, one for each tap.
        rows: of the rectangle.
        columns: of the rectangle.
        weight: (K, D), of the first layer.
        bias: (K,), of the first layer.
        head: see `PointClassifier`.
        settings: of the subdivision.

    Returns:
        (H, W) uint8.
    """
    size = rows.stop - rows.start, columns.stop - columns.start
    # The first grid needs at least one block, and must end with a pixel, which may lie beyond the border.
    lengths = [max(math.ceil((side - 1) / settings.stride), 1) * settings.stride + 1 for side in size]
    down, across = (
        torch.arange(first, first + length) for first, length in zip((rows.start, columns.start), lengths, strict=True)
    )
    logits = PointClassifier(maps, down, across, weight, bias, head)
    return subdivide(logits, lengths, settings)[: size[0], : size[1]]


def subdivide(logits: PixelLogits, lengths: Sequence[int], settings: AdaptiveSettings) -> Tensor:
    """Predict the classes of a grid of pixels from the logits of some.

    Args:
        logits: computes the logits of pixels; it is not called twice for the same pixel.
        lengths: (height, width) of the grid, each a multiple of the stride plus 1.
        settings: of the subdivision.

    Returns:
        (height, width) uint8.
    """
    step = settings.stride
    grid = torch.meshgrid(*(torch.arange(0, length, step) for length in lengths), indexing="ij")
    labels, margins = (part.view(grid[0].shape) for part in _decide(logits(grid[0].flatten(), grid[1].flatten())))
    while step > 1:
        step //= 2
        split = (_corner_minimum(labels) != -_corner_minimum(-labels)) | (_corner_minimum(margins) < settings.margin)
        labels, margins = _refine_labels(labels), _refine_margins(margins)
        # A split block needs its centre and the midpoints of its sides. Neighbouring blocks share a side.
        wanted = torch.zeros_like(labels, dtype=torch.bool)
        wanted[1::2, 1::2] = split
        wanted[:-1:2, 1::2] |= split
        wanted[2::2, 1::2] |= split
        wanted[1::2, :-1:2] |= split
        wanted[1::2, 2::2] |= split
        rows, columns = wanted.nonzero(as_tuple=True)
        if len(rows):
            labels[rows, columns], margins[rows, columns] = _decide(logits(rows * step, columns * step))
    return labels.to(torch.uint8)


def _corner_minimum(corners: Tensor) -> Tensor:
    """Return the minimum over each block's four corners."""
    across = torch.minimum(corners[:, :-1], corners[:, 1:])
    return torch.minimum(across[:-1], across[1:])


def _decide(logits: Tensor) -> tuple[Tensor, Tensor]:
    """Return the class (N,) of each pixel, and the difference (N,) between its two highest logits."""
    if logits.shape[1] == 1:
        return torch.zeros(len(logits), dtype=torch.int16), torch.full((len(logits),), torch.inf)
    values, classes = logits.topk(2)
    return classes[:, 0].to(torch.int16).cpu(), (values[:, 0] - values[:, 1]).float().cpu()


def _refine_labels(labels: Tensor) -> Tensor:
    """Copy labels to a grid twice as fine; each new pixel gets the label of its block's first corner."""
    return labels.repeat_interleave(2, 0)[:-1].repeat_interleave(2, 1)[:, :-1]


def _refine_margins(margins: Tensor) -> Tensor:
    """Copy margins to a grid twice as fine; the margins of new pixels are infinite until they are classified."""
    finer = margins.new_full((2 * len(margins) - 1, 2 * margins.shape[1] - 1), torch.inf)
    finer[::2, ::2] = margins
    return finer
