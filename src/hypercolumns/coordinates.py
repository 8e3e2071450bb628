"""Normalised pixel coordinates and crop boxes, for location-specific classifiers and coordinate maps.

An image tensor can be a crop of the whole image. A crop box says where the whole image lies: (top, left, height, width)
in pixels, with the crop's top left corner at (0, 0). A batch has boxes (B, 4), or one box (1, 4) for all its images.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

ImageSize = tuple[int, int]  # height, width


class PixelCoordinates(NamedTuple):
    """Positions of pixels in the whole image, whose edges are 0 and 1; `y` and `x` broadcast to a value per pixel."""

    y: Tensor
    x: Tensor


def full_image_box(size: Sequence[int]) -> Tensor:
    """Return the crop box (1, 4) float32 of images of `size` = (height, width) that are not cropped."""
    # `torch.tensor` would make the example's size a constant in an exported model.
    return torch.stack([torch.full((), length, dtype=torch.float32) for length in (0, 0, *size)])[None]


def normalised_coordinates(rows: Tensor, columns: Tensor, boxes: Tensor) -> PixelCoordinates:
    """Normalise pixel coordinates to positions in the whole image.

    Args:
        rows: row coordinates in pixels; 0 is the centre of the first row. If there are several boxes, the first
            dimension of `rows` and `columns` is that of the images.
        columns: column coordinates in pixels, which broadcast with `rows`.
        boxes: (B, 4) or (1, 4) crop boxes.

    Returns:
        The positions, on the device of `rows`, in [0, 1] for points inside the whole image.
    """
    top, left, height, width = (values.view(-1, *[1] * (rows.ndim - 1)) for values in boxes.to(rows.device).unbind(1))
    return PixelCoordinates((rows + 0.5 - top) / height, (columns + 0.5 - left) / width)
