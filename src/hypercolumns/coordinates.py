"""Normalised pixel coordinates and crop boxes, for location-specific classifiers and coordinate maps.

An image tensor can be a crop of the whole image. A crop box gives the place of the whole image relative to the crop:
(top, left, height, width) in pixels, where (0, 0) is the top left corner of the crop. The boxes of a batch are one
tensor: (B, 4), or (1, 4) if one box holds for all images.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

ImageSize = tuple[int, int]  # height, width


class PixelCoordinates(NamedTuple):
    """Positions of pixels relative to the whole image. `y` and `x` can be broadcast to the same shape.

    Attributes:
        y: 0 at the top edge of the whole image, 1 at its bottom edge.
        x: 0 at the left edge of the whole image, 1 at its right edge.
    """

    y: Tensor
    x: Tensor


def full_image_box(size: Sequence[int]) -> Tensor:
    """Return the crop box of images that are not cropped, (1, 4) float32. `size` is their (height, width)."""
    # In an exported model, `torch.tensor` would make the size of the image that the export used a constant.
    return torch.stack([torch.full((), length, dtype=torch.float32) for length in (0, 0, *size)])[None]


def normalised_coordinates(rows: Tensor, columns: Tensor, boxes: Tensor) -> PixelCoordinates:
    """Convert pixel coordinates to positions in the whole image.

    Args:
        rows: row coordinates in pixels of the image tensor; 0 is the centre of its first row.
        columns: column coordinates in pixels; 0 is the centre of the first column. `columns` and `rows` have the same
            number of dimensions, and can be broadcast to the same shape.
        boxes: the crop boxes, (B, 4), or (1, 4) if one box holds for all images. If B > 1, the first dimension of
            `rows` and of `columns` is the batch dimension, of size B or 1.

    Returns:
        The positions, on the device of `rows`, in [0, 1] for points inside the whole image.
    """
    top, left, height, width = (values.view(-1, *[1] * (rows.ndim - 1)) for values in boxes.to(rows.device).unbind(1))
    return PixelCoordinates((rows + 0.5 - top) / height, (columns + 0.5 - left) / width)
