"""Predict all pixels by classifying some of them: adaptive subdivision of PointRend (arXiv:1912.08193, section 3.1).

First, the pixels of a coarse grid are classified. Four neighbouring pixels of the grid are the corners of a square. The
square is split into four squares if the classes of its corners differ, or if the two highest logits of a corner are
close. Then the new corners are classified, and the new squares are split in the same way, until the corners are
neighbouring pixels of the image. A square that is not split is filled with the class of its corners.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from hypercolumns.errors import ArgumentError, check_int, check_number
from hypercolumns.models.alignment import FeatureMap
from hypercolumns.models.engine.dense import Head
from hypercolumns.models.engine.levels import find_levels
from hypercolumns.models.engine.points import PointClassifier

# From the rows (N,) and columns (N,) of pixels of a grid, and the grid's stride, to the results (N, 2) of `decide`.
PixelDecisions = Callable[[Tensor, Tensor, int], Tensor]
MAX_STRIDE = 256  # pixels


@dataclass(frozen=True)
class AdaptiveSettings:
    """Settings of adaptive prediction: how coarse the first grid is, and when a square is split.

    >>> from hypercolumns import AdaptiveSettings
    >>> AdaptiveSettings(stride=16)
    AdaptiveSettings(stride=16, margin=0.5)

    Attributes:
        stride: the distance in pixels between neighbouring pixels of the first grid; a power of two, up to 256.
        margin: a square whose corners have the same class is still split if the two highest logits of any corner differ
            by less than `margin`; at least 0.

    Raises:
        ArgumentError: if `stride` or `margin` has a value that is not allowed.
    """

    stride: int = 8
    margin: float = 0.5

    def __post_init__(self) -> None:
        """Check the values of `stride` and `margin`."""
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
        maps: the maps (1, C_l, h_l, w_l) of one image, one for each tap.
        rows: the rectangle's rows of pixels, as a slice of the image's rows.
        columns: the rectangle's columns of pixels, as a slice of the image's columns.
        weight: (K, D), the weight of the classifier's first layer.
        bias: (K,), the bias of the classifier's first layer.
        head: computes logits from the first layer's output, see `PointClassifier`.
        settings: the settings of the subdivision.

    Returns:
        The classes of the rectangle's H x W pixels, (H, W) uint8.
    """
    size = rows.stop - rows.start, columns.stop - columns.start
    firsts = [
        pixels.start - (pixels.start - phase) % settings.stride
        for pixels, phase in zip((rows, columns), _grid_phases(maps), strict=True)
    ]
    # The first grid consists of whole squares, at least one, so it can reach beyond the rectangle on all sides.
    lengths = [
        max(math.ceil((pixels.stop - 1 - first) / settings.stride), 1) * settings.stride + 1
        for pixels, first in zip((rows, columns), firsts, strict=True)
    ]
    down, across = (torch.arange(first, first + length) for first, length in zip(firsts, lengths, strict=True))

    def decided(hidden: Tensor, y: Tensor, x: Tensor) -> Tensor:
        return decide(head(hidden, y, x))

    decisions = PointClassifier(maps, down, across, weight, bias, decided, settings.stride)
    top, left = rows.start - firsts[0], columns.start - firsts[1]
    return subdivide(decisions, lengths, settings)[top : top + size[0], left : left + size[1]]


def _grid_phases(maps: Sequence[FeatureMap]) -> tuple[int, int]:
    """Choose a pixel of the first grid along y and along x: a centre of a cell of the coarsest map that has such cells.

    In a SqueezeNet or a ResNet, most cells of all maps then lie on the grids of the subdivision, see `PointClassifier`.
    If no map has cells centred on pixels, the result is 0.
    """
    levels = find_levels(maps)
    phases = []
    for axis in (0, 1):
        lines = [level.centres[axis] for level in levels]
        on_pixels = [line for line in lines if len(line) > 1 and torch.equal(line, line.round())]
        phases.append(int(on_pixels[0][0]) if on_pixels else 0)
    return phases[0], phases[1]


def subdivide(decisions: PixelDecisions, lengths: Sequence[int], settings: AdaptiveSettings) -> Tensor:
    """Predict the classes of a grid of pixels from the classes and the margins of some of them.

    Args:
        decisions: computes the result (N, 2) of `decide` for N pixels from their rows (N,) and their columns (N,), as
            indices in the grid, and from the stride of the grid to which they belong. No pixel is requested twice.
        lengths: (height, width) of the grid in pixels. Each is 1 more than a multiple of `settings.stride`.
        settings: the settings of the subdivision.

    Returns:
        The classes of all pixels of the grid, (height, width) uint8.
    """
    step = settings.stride
    grid = torch.meshgrid(*(torch.arange(0, length, step) for length in lengths), indexing="ij")
    labels, margins = (
        part.view(grid[0].shape) for part in _on_cpu(decisions(grid[0].flatten(), grid[1].flatten(), step))
    )
    while step > 1:
        step //= 2
        split = (_corner_minimum(labels) != -_corner_minimum(-labels)) | (_corner_minimum(margins) < settings.margin)
        labels, margins = _refine_labels(labels), _refine_margins(margins)
        # The new corners of a split square are its centre and the midpoints of its sides. Neighbouring squares share a
        # side.
        wanted = torch.zeros_like(labels, dtype=torch.bool)
        wanted[1::2, 1::2] = split
        wanted[:-1:2, 1::2] |= split
        wanted[2::2, 1::2] |= split
        wanted[1::2, :-1:2] |= split
        wanted[1::2, 2::2] |= split
        rows, columns = wanted.nonzero(as_tuple=True)
        if len(rows):
            labels[rows, columns], margins[rows, columns] = _on_cpu(decisions(rows * step, columns * step, step))
    return labels.to(torch.uint8)


def _corner_minimum(corners: Tensor) -> Tensor:
    """Return, for each square of a grid (h, w), the minimum of the values at its four corners, (h - 1, w - 1)."""
    across = torch.minimum(corners[:, :-1], corners[:, 1:])
    return torch.minimum(across[:-1], across[1:])


def decide(logits: Tensor) -> Tensor:
    """Return the class and the margin of each pixel: the difference between the pixel's two highest logits.

    If there is only one class, the margins are infinite.

    Args:
        logits: (..., classes).

    Returns:
        (..., 2) float32, the class and the margin.
    """
    if logits.shape[-1] == 1:
        return torch.tensor([0, torch.inf], device=logits.device).expand(*logits.shape[:-1], 2)
    values, classes = logits.topk(2)
    return torch.stack([classes[..., 0].float(), (values[..., 0] - values[..., 1]).float()], dim=-1)


def _on_cpu(decisions: Tensor) -> tuple[Tensor, Tensor]:
    """Return the classes (N,) int16 and the margins (N,) float32 of the results (N, 2) of `decide`, on the CPU."""
    return decisions[:, 0].to(torch.int16).cpu(), decisions[:, 1].cpu()


def _refine_labels(labels: Tensor) -> Tensor:
    """Copy labels (h, w) to a grid twice as fine, (2h - 1, 2w - 1).

    Pixel (y, x) of the new grid gets the label of pixel (y // 2, x // 2) of the old grid.
    """
    return labels.repeat_interleave(2, 0)[:-1].repeat_interleave(2, 1)[:, :-1]


def _refine_margins(margins: Tensor) -> Tensor:
    """Copy margins (h, w) to a grid twice as fine, (2h - 1, 2w - 1). The margins of new pixels are infinite."""
    finer = margins.new_full((2 * len(margins) - 1, 2 * margins.shape[1] - 1), torch.inf)
    finer[::2, ::2] = margins
    return finer
