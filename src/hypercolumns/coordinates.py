"""Normalised pixel coordinates and crop boxes, for location-specific classifiers and coordinate maps.

The tensor of an image may be a crop of it. A crop box says where the whole image lies relative to the crop: (top, left,
height, width) in pixels, with the crop's top left corner at (0, 0). A batch has boxes (B, 4); boxes (1, 4) apply to
every image of a batch.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

ImageSize = tuple[int, int]  # height, width


class PixelCoordinates(NamedTuple):
    """Positions of pixels in the whole image, where 0 and 1 are its edges; `y` and `x` broadcast to all pixels."""

    y: Tensor
    x: Tensor


def full_image_box(size: Sequence[int]) -> Tensor:
    """Return the box (1, 4) float32 of whole images with `size` = (height, width)."""
    # `torch.tensor` would make the example's size a constant in an exported model.
    return torch.stack([torch.full((), length, dtype=torch.float32) for length in (0, 0, *size)])[None]


def normalised_coordinates(rows: Tensor, columns: Tensor, boxes: Tensor) -> PixelCoordinates:
    """Normalise pixel coordinates to positions in the whole image.

    Args:
        rows: row coordinates in pixels; 0 is the centre of the first row. Rows and columns broadcast to all pixels, and
            with several boxes their first dimension is the images.
        columns: column coordinates in pixels.
        boxes: (B, 4) or (1, 4) crop boxes.

    Returns:
        The coordinates, on the device of `rows`; in [0, 1] inside the whole image.
    """
    top, left, height, width = (values.view(-1, *[1] * (rows.ndim - 1)) for values in boxes.to(rows.device).unbind(1))
    return PixelCoordinates((rows + 0.5 - top) / height, (columns + 0.5 - left) / width)
