"""The classes of all pixels, from the logits of some: PointRend's adaptive subdivision (arXiv:1912.08193, section 3.1).

A coarse grid of pixels is classified; then, again and again, each block between four of them whose classes disagree, or
one of which was close, is split in four, down to single pixels. All other blocks are filled with their corners' class.
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

PixelLogits = Callable[[Tensor, Tensor], Tensor]
MAX_STRIDE = 256


@dataclass(frozen=True)
class AdaptiveSettings:
    """Where to look closer.

    `stride` is the distance of the first grid's pixels, a power of two up to 256; a block is split where its corners
    disagree, or where the difference of the two highest logits of one of them is below `margin`.

    >>> AdaptiveSettings(stride=16)
    AdaptiveSettings(stride=16, margin=0.5)
    """

    stride: int = 8
    margin: float = 0.5

    def __post_init__(self) -> None:
        """Raise ArgumentError for values out of range."""
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
    """The classes (H, W), uint8, of the pixels of one image in these rows and columns; all else as for `classify`."""
    size = rows.stop - rows.start, columns.stop - columns.start
    # So many that the first grid has blocks, and ends with a pixel, if beyond the border.
    lengths = [max(math.ceil((side - 1) / settings.stride), 1) * settings.stride + 1 for side in size]
    down, across = (
        torch.arange(first, first + length) for first, length in zip((rows.start, columns.start), lengths, strict=True)
    )
    logits = PointClassifier(maps, down, across, weight, bias, head)
    return _subdivide(logits, lengths, settings)[: size[0], : size[1]]


def _subdivide(logits: PixelLogits, lengths: Sequence[int], settings: AdaptiveSettings) -> Tensor:
    """The classes of all pixels, given the logits (N, classes) of pixels in these rows (N,) and columns (N,)."""
    step = settings.stride
    grid = torch.meshgrid(*(torch.arange(0, length, step) for length in lengths), indexing="ij")
    labels, margins = (found.view(grid[0].shape) for found in _decide(logits(grid[0].flatten(), grid[1].flatten())))
    while step > 1:
        step //= 2
        split = (_corner_minimum(labels) != -_corner_minimum(-labels)) | (_corner_minimum(margins) < settings.margin)
        labels, margins = _spread(labels), _between(margins)
        # The middles of a block and of its sides; blocks side by side share a side.
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
    """The minimum of each block's four corners."""
    across = torch.minimum(corners[:, :-1], corners[:, 1:])
    return torch.minimum(across[:-1], across[1:])


def _decide(logits: Tensor) -> tuple[Tensor, Tensor]:
    """The class (N,) of each pixel, and by how much it was ahead of the next."""
    if logits.shape[1] == 1:
        return torch.zeros(len(logits), dtype=torch.int16), torch.full((len(logits),), torch.inf)
    values, classes = logits.topk(2)
    return classes[:, 0].to(torch.int16).cpu(), (values[:, 0] - values[:, 1]).float().cpu()


def _spread(labels: Tensor) -> Tensor:
    """Labels on a grid to those on a grid twice as fine, each new one by its block's first corner."""
    return labels.repeat_interleave(2, 0)[:-1].repeat_interleave(2, 1)[:, :-1]


def _between(margins: Tensor) -> Tensor:
    """Likewise margins; where none is known it is infinite."""
    finer = margins.new_full((2 * len(margins) - 1, 2 * margins.shape[1] - 1), torch.inf)
    finer[::2, ::2] = margins
    return finer
