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
from hypercolumns.models.engine.points import PointClassifier, even_step

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
    pixels = torch.arange(rows.start, rows.stop), torch.arange(columns.start, columns.stop)

    def decided(hidden: Tensor, y: Tensor, x: Tensor) -> Tensor:
        return decide(head(hidden, y, x))

    labels, _, inside = _subdivide_grid(maps, *pixels, weight, bias, decided, settings)
    return labels[inside]


def adaptive_decisions(
    maps: Sequence[FeatureMap],
    rows: Tensor,
    columns: Tensor,
    weight: Tensor,
    bias: Tensor,
    decided: Head,
    settings: AdaptiveSettings,
) -> tuple[Tensor, Tensor]:
    """Predict the classes and the margins of a grid of pixels by adaptive subdivision.

    Args:
        maps: the maps (1, C_l, h_l, w_l) of one image, one for each tap. Their values may be of half precision.
        rows: (H,), rising: the y of the grid's rows, whole numbers in pixels. The subdivision is fastest if they are
            evenly spaced.
        columns: (W,), rising: the x of the grid's columns.
        weight: (K, D), the weight of the classifier's first layer.
        bias: (K,), the bias of the classifier's first layer.
        decided: computes the class and the margin (..., 2) of pixels from the first layer's output, see
            `PointClassifier`. The margin may be any measure of how sure the class is, such as that of `decide`.
        settings: the settings of the subdivision, whose stride counts rows and columns of the grid.

    Returns:
        The classes (H, W) uint8 of all pixels, and their margins (H, W) float32. The margins of pixels that were not
        classified are interpolated.
    """
    labels, margins, inside = _subdivide_grid(maps, rows, columns, weight, bias, decided, settings)
    return labels[inside], fill_margins(margins, settings.stride)[inside]


def _subdivide_grid(
    maps: Sequence[FeatureMap],
    rows: Tensor,
    columns: Tensor,
    weight: Tensor,
    bias: Tensor,
    decided: Head,
    settings: AdaptiveSettings,
) -> tuple[Tensor, Tensor, tuple[slice, slice]]:
    """Subdivide a grid that contains the given one; return the result of `subdivide` and the place of the given one."""
    levels = find_levels(maps)
    first, left = (
        _lines_before(line, [level.centres[axis] for level in levels], settings.stride)
        for axis, line in enumerate((rows, columns))
    )
    down, across = _extend(rows, first, settings.stride), _extend(columns, left, settings.stride)
    decisions = PointClassifier(maps, down, across, weight, bias, decided, settings.stride)
    labels, margins = subdivide(decisions, (len(down), len(across)), settings)
    return labels, margins, (slice(first, first + len(rows)), slice(left, left + len(columns)))


def _lines_before(pixels: Tensor, centres: Sequence[Tensor], stride: int) -> int:
    """Choose how many lines before the first one the first grid begins, so that it meets coarse cells.

    In a SqueezeNet or a ResNet, most cells of all maps then lie on the grids of the subdivision, see `PointClassifier`.

    Args:
        pixels: (n,), rising: the coordinates of the lines along one axis.
        centres: for each level of maps, the coarsest first, the centres of its cells along the axis.
        stride: the distance of the lines of the first grid.

    Returns:
        A number below `stride`; 0 if no level has all its cells on lines.
    """
    step = even_step(pixels)
    if step is None:
        return 0
    for line in centres:
        numbers = (line - pixels[0]) / step
        if len(line) > 1 and torch.equal(numbers, numbers.round()):
            return -int(numbers[0]) % stride
    return 0


def _extend(pixels: Tensor, before: int, stride: int) -> Tensor:
    """Add lines before the first and after the last, so that their number is 1 more than a multiple of the stride.

    There are at least `stride + 1` lines. They can lie outside of the image.
    """
    step = even_step(pixels) or 1
    length = max(math.ceil((before + len(pixels) - 1) / stride), 1) * stride + 1
    first, last = int(pixels[0]), int(pixels[-1])
    after = torch.arange(1, length - before - len(pixels) + 1)
    return torch.cat([first - step * torch.arange(before, 0, -1), pixels, last + step * after])


def subdivide(decisions: PixelDecisions, lengths: Sequence[int], settings: AdaptiveSettings) -> tuple[Tensor, Tensor]:
    """Predict the classes of a grid of pixels from the classes and the margins of some of them.

    Args:
        decisions: computes the result (N, 2) of `decide` for N pixels from their rows (N,) and their columns (N,), as
            indices in the grid, and from the stride of the grid to which they belong. No pixel is requested twice.
        lengths: (height, width) of the grid in pixels. Each is 1 more than a multiple of `settings.stride`.
        settings: the settings of the subdivision.

    Returns:
        The classes of all pixels of the grid, (height, width) uint8, and their margins, (height, width) float32,
        infinite for pixels that were not classified.
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
    return labels.to(torch.uint8), margins


def fill_margins(margins: Tensor, stride: int) -> Tensor:
    """Interpolate the margins of the pixels that were not classified from those of the corners around them.

    Args:
        margins: (height, width), as `subdivide` returns them; infinite for pixels that were not classified.
        stride: the stride of the first grid, all of whose pixels were classified.

    Returns:
        (height, width).
    """
    filled = margins.clone()
    while stride > 1:
        coarse, stride = filled[::stride, ::stride], stride // 2
        fine = filled[::stride, ::stride]
        between = fine.clone()
        between[::2, 1::2] = (coarse[:, :-1] + coarse[:, 1:]) / 2
        between[1::2] = (between[:-1:2] + between[2::2]) / 2
        torch.where(fine.isinf(), between, fine, out=fine)
    return filled


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
