"""Where pixels lie in their image, for what depends on it: a location-specific classifier, a map of coordinates.

What is at hand may be a crop of an image. A box says where the whole image lies: (top, left, height, width), in
pixels of what is at hand, whose top left corner is (0, 0). Boxes (B, 4) are those of a batch; one that is given once,
(1, 4), is that of all its images.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

ImageSize = tuple[int, int]  # height, width


class PixelCoordinates(NamedTuple):
    """How far down and across the whole image pixels lie: 0 and 1 are its edges. The two broadcast to all pixels."""

    y: Tensor
    x: Tensor


def full_image_box(size: Sequence[int]) -> Tensor:
    """The box (1, 4) of images of `size` = (height, width) that are no crops."""
    # Not by `torch.tensor`, which would take the sizes that an export is made with for the only ones.
    return torch.stack([torch.full((), length, dtype=torch.float32) for length in (0, 0, *size)])[None]


def normalised_coordinates(rows: Tensor, columns: Tensor, boxes: Tensor) -> PixelCoordinates:
    """The normalised coordinates of pixels, given in pixels, (0, 0) the centre of the first, on the device of `rows`.

    Rows and columns broadcast to all pixels; where there are several boxes, their first dimension is that of images.
    """
    top, left, height, width = (values.view(-1, *[1] * (rows.ndim - 1)) for values in boxes.to(rows.device).unbind(1))
    return PixelCoordinates((rows + 0.5 - top) / height, (columns + 0.5 - left) / width)
