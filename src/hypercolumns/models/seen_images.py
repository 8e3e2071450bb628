"""Images as a backbone sees them: resized, padded and as floats, in the memory of a part of them if they are large.

Shapes: B images with N channels.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from hypercolumns.coordinates import ImageSize
from hypercolumns.models.backbones import Backbone, as_float
from hypercolumns.models.slices import slices_within

MAX_RESIZED = 4_000_000  # pixels of resized images that are held; larger ones are resized part by part
MAX_WEIGHTS = 1 << 22  # weights, along an axis, by which the pixels of a part are resized at once


class SeenImages:
    """Images as a backbone sees them; any part can be cut out.

    Args:
        images: (B, N, H, W), uint8 or float in [0, 1].
        size: (height, width) in pixels, to which the images are resized.
        backbone: enlarges images to sizes that its network accepts.

    Attributes:
        images: the argument `images`.
        size: the (height, width) of the images as the backbone sees them, after resizing and padding, in pixels.
        scales: (along y, along x), the factors by which the images are resized.
    """

    def __init__(self, images: Tensor, size: ImageSize, backbone: Backbone) -> None:
        self.images, self._resized, self._backbone = images, size, backbone
        given = (images.shape[-2], images.shape[-1])
        self.scales = size[0] / given[0], size[1] / given[1]
        self.size = backbone.padded_size(*size)
        self._held: Tensor | None = None
        if size == given:
            self._held = images
        elif size[0] * size[1] <= MAX_RESIZED:
            self._held = resize_images(images, size)
        if self._held is not None and self.size != size:
            self._held = backbone.pad(self._held)

    def crop(self, rows: slice, columns: slice) -> Tensor:
        """Return a part of the images as floats in [0, 1]: (B, N, rows, columns)."""
        if self._held is not None:
            return as_float(self._held[..., rows, columns])
        inside = [
            slice(min(part.start, side - 1), min(part.stop, side))
            for part, side in zip((rows, columns), self._resized, strict=True)
        ]
        crop = resized_crop(self.images, self._resized, inside[0], inside[1])
        if (rows, columns) == (*inside,):
            return crop
        down, across = (
            torch.arange(part.start, part.stop, device=crop.device).clamp(max=side - 1) - within.start
            for part, side, within in zip((rows, columns), self._resized, inside, strict=True)
        )
        return crop.index_select(2, down).index_select(3, across)


def resize_images(images: Tensor, size: ImageSize) -> Tensor:
    """Resize images bilinearly, with antialiasing.

    Torch resizes each row first and then each column. If a row becomes longer and a column shorter, the result of the
    first step can be many times larger than the images before and after. For large images, the columns are then resized
    first, which changes the results only by rounding.

    Args:
        images: (B, N, H, W), uint8 or float in [0, 1].
        size: the new (height, width) in pixels.

    Returns:
        (B, N, height, width) float in [0, 1].
    """
    height, width = images.shape[-2:]
    if height * size[1] <= max(height * width, size[0] * size[1], MAX_RESIZED):
        return F.interpolate(as_float(images), size, mode="bilinear", antialias=True)
    turned = F.interpolate(as_float(images).transpose(-1, -2), size[::-1], mode="bilinear", antialias=True)
    return turned.transpose(-1, -2)


def resized_crop(images: Tensor, size: ImageSize, rows: slice, columns: slice) -> Tensor:
    """Compute a part of the result of `resize_images`, except for rounding.

    Args:
        images: (B, N, H, W), uint8 or float in [0, 1].
        size: the (height, width) to which the images are resized, in pixels.
        rows: the rows of the part, in pixels of the resized images.
        columns: the columns of the part.

    Returns:
        (B, N, rows, columns) float in [0, 1].
    """
    strips = []
    for across in _short_parts(images.shape[-1], size[1], columns):
        used_columns, horizontal = antialias_weights(images.shape[-1], size[1], across)
        bands = []
        for down in _short_parts(images.shape[-2], size[0], rows):
            used_rows, vertical = antialias_weights(images.shape[-2], size[0], down)
            part = as_float(images[..., used_rows, used_columns])
            bands.append(vertical.to(part) @ part @ horizontal.T.to(part))
        strips.append(bands[0] if len(bands) == 1 else torch.cat(bands, dim=-2))
    return strips[0] if len(strips) == 1 else torch.cat(strips, dim=-1)


def _short_parts(length: int, new_length: int, targets: slice) -> list[slice]:
    """Divide the targets of `antialias_weights` so that there are at most about `MAX_WEIGHTS` weights of a part."""
    return slices_within(targets, max(math.isqrt(int(MAX_WEIGHTS / max(length / new_length, 1))), 1))


def antialias_weights(length: int, new_length: int, targets: slice) -> tuple[slice, Tensor]:
    """Return the weights of bilinear resizing with antialiasing, along one axis.

    A new pixel is the mean of the old pixels, weighted by a triangle around its centre. The triangle reaches to the
    centres of its neighbours, among the pixels of the coarser of the two images.

    Args:
        length: the number of pixels before resizing.
        new_length: the number of pixels after resizing.
        targets: some of the new pixels.

    Returns:
        The n old pixels that the targets need, and the weights (targets, n) float64. Each row sums to 1.
    """
    scale = length / new_length
    reach = max(scale, 1.0)
    centres = (torch.arange(targets.start, targets.stop, dtype=torch.float64) + 0.5) * scale
    first = max(math.floor(float(centres[0]) - reach), 0)
    last = min(math.ceil(float(centres[-1]) + reach), length)
    pixels = torch.arange(first, last, dtype=torch.float64) + 0.5
    weights = (1 - (pixels - centres[:, None]).abs() / reach).clamp(min=0)
    return slice(first, last), weights / weights.sum(1, keepdim=True)
