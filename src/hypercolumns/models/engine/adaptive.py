"""Predict all pixels by classifying some of them: adaptive subdivision of PointRend (arXiv:1912.08193, section 3.1).

First, the pixels of a coarse grid are classified. Four neighbouring pixels of the grid are the corners of a block. The
block is split into four blocks if the classes of its corners differ, or if the two highest logits of a corner are
close. Blocks are split again and again, down to single pixels. Any other block is filled with the class of its corners.
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

PixelLogits = Callable[[Tensor, Tensor], Tensor]  # from rows (N,) and columns (N,) of pixels to logits (N, classes)
MAX_STRIDE = 256  # pixels


@dataclass(frozen=True)
class AdaptiveSettings:
    """Settings of adaptive subdivision: the first grid, and the blocks that are split.

    >>> from hypercolumns import AdaptiveSettings
    >>> AdaptiveSettings(stride=16)
    AdaptiveSettings(stride=16, margin=0.5)

    Attributes:
        stride: the distance in pixels between the pixels of the first grid; a power of two, up to 256.
        margin: a block whose corners have the same class is split nevertheless if the two highest logits of any corner
            differ by less than `margin`; at least 0.

    Raises:
        ArgumentError: if `stride` or `margin` has a value that is not allowed.
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
        maps: the maps of one image, one for each tap.
        rows: the rectangle's rows of pixels.
        columns: the rectangle's columns of pixels.
        weight: (K, D), of the first layer.
        bias: (K,), of the first layer.
        head: see `PointClassifier`.
        settings: the settings of the subdivision.

    Returns:
        (H, W) uint8, the classes of the rectangle's pixels.
    """
    size = rows.stop - rows.start, columns.stop - columns.start
    # The first grid consists of whole blocks, at least one, so its last pixels may lie beyond the rectangle.
    lengths = [max(math.ceil((side - 1) / settings.stride), 1) * settings.stride + 1 for side in size]
    down, across = (
        torch.arange(first, first + length) for first, length in zip((rows.start, columns.start), lengths, strict=True)
    )
    logits = PointClassifier(maps, down, across, weight, bias, head)
    return subdivide(logits, lengths, settings)[: size[0], : size[1]]


def subdivide(logits: PixelLogits, lengths: Sequence[int], settings: AdaptiveSettings) -> Tensor:
    """Predict the classes of a grid of pixels from the logits of some of them.

    Args:
        logits: computes the logits of pixels; it is called at most once for each pixel.
        lengths: (height, width) of the grid in pixels, each a multiple of the stride plus 1.
        settings: the settings of the subdivision.

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
    """Copy labels to a grid twice as fine; each new pixel gets the label of the top left corner of its block."""
    return labels.repeat_interleave(2, 0)[:-1].repeat_interleave(2, 1)[:, :-1]


def _refine_margins(margins: Tensor) -> Tensor:
    """Copy margins to a grid twice as fine; the margins of new pixels are infinite until the pixels are classified."""
    finer = margins.new_full((2 * len(margins) - 1, 2 * margins.shape[1] - 1), torch.inf)
    finer[::2, ::2] = margins
    return finer
