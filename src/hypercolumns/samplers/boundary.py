"""The sampler that takes a fixed fraction of its pixels near label boundaries."""

import torch
from torch import Tensor

from hypercolumns.errors import check_fraction, check_int
from hypercolumns.labels import IGNORE_INDEX, boundary_band
from hypercolumns.samplers.sampler import LogitsAt, Sampler, draw_pixels


class BoundarySampler(Sampler):
    """Sample `n` labelled pixels of an image: a fraction near label boundaries, and the other pixels elsewhere.

    Near boundaries and elsewhere, the pixels are drawn uniformly without replacement. If there are too few labelled
    pixels near boundaries, the missing samples are drawn elsewhere. If there are too few elsewhere, they are drawn near
    boundaries. If the image has fewer than `n` labelled pixels, all of them are taken.

    Args:
        n: the number of pixels to sample per image, at least 1.
        share: the fraction of `n` that is drawn near boundaries, in [0, 1].
        width: the distance in pixels up to which a pixel is near a boundary, at least 1. A pixel is near a boundary if
            a pixel with another label is at most `width` steps away, straight or diagonal. Void counts as a label, as
            in the boundary metrics.
    """

    def __init__(self, n: int = 500, share: float = 0.5, width: int = 3) -> None:
        check_int("n", n, minimum=1)
        check_fraction("share", share)
        check_int("width", width, minimum=1)
        self.n, self.share, self.width = n, share, width

    def __call__(self, mask: Tensor, generator: torch.Generator, logits: LogitsAt | None = None) -> Tensor:
        """Choose up to `n` labelled pixels, (N, 2) int64, first those near boundaries; see `Sampler.__call__`."""
        band, valid = boundary_band(mask, self.width), mask != IGNORE_INDEX
        far = valid & ~band
        near = draw_pixels(valid & band, max(round(self.share * self.n), self.n - int(far.sum())), generator)
        return torch.cat([near, draw_pixels(far, self.n - len(near), generator)])
