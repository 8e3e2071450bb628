"""What a page shows of an image: a part of it, on the grid of a screen."""

from dataclasses import dataclass

import torch
from torch import Tensor

from hypercolumns.errors import ArgumentError
from hypercolumns.io.images import PixelShape

MAX_GRID = 4096  # rows or columns of a screen


@dataclass(frozen=True)
class Lines:
    """Rows or columns of an image, evenly spaced.

    Attributes:
        first: the first one.
        step: the number of pixels from one to the next.
        count: how many they are.
    """

    first: int
    step: int
    count: int

    def as_tensor(self) -> Tensor:
        """Return the rows or columns, (count,) int64."""
        return self.first + self.step * torch.arange(self.count)


@dataclass(frozen=True)
class Screen:
    """A part of an image as a page shows it.

    Attributes:
        image: the number of the image.
        rows: the rows of the image on the screen.
        columns: its columns.
    """

    image: int
    rows: Lines
    columns: Lines


def choose_screen(image: int, box: tuple[int, int, int, int], grid: PixelShape, size: PixelShape) -> Screen:
    """Choose the pixels of an image that a page shows: every pixel if they fit on the screen, or else evenly spaced.

    Args:
        image: the number of the image.
        box: (top, left, bottom, right) of the part that is visible, in pixels; bottom and right are the first ones
            outside.
        grid: (height, width), the number of rows and columns at most.
        size: (height, width) of the image.

    Returns:
        The screen. The step from row to row is that from column to column.

    Raises:
        ArgumentError: if the box is empty or not in the image, or the grid is empty or too large.
    """
    top, left, bottom, right = box
    if not (0 <= top < bottom <= size[0] and 0 <= left < right <= size[1]):
        raise ArgumentError(
            f"top={top} left={left} bottom={bottom} right={right} must be a part of the image, which is "
            f"{size[1]}x{size[0]}"
        )
    if not all(1 <= length <= MAX_GRID for length in grid):
        raise ArgumentError(f"height={grid[0]} width={grid[1]} must be from 1 to {MAX_GRID}")
    step = max(-(-(bottom - top) // grid[0]), -(-(right - left) // grid[1]))
    return Screen(image, _lines(top, bottom, step), _lines(left, right, step))


def _lines(start: int, stop: int, step: int) -> Lines:
    """Return the middles of equal parts of an axis; the last part may be smaller."""
    first = min(start + (step - 1) // 2, stop - 1)
    return Lines(first, step, len(range(first, stop, step)))
