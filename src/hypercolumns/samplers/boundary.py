"""The sampler that prefers pixels near label boundaries."""

import torch
from torch import Tensor

from hypercolumns.errors import check_fraction, check_int
from hypercolumns.labels import IGNORE_INDEX, boundary_band
from hypercolumns.samplers.sampler import LogitsAt, Sampler, draw_without_replacement


class BoundarySampler(Sampler):
    """Sample `n` pixels of an image, a fraction of them near label boundaries.

    Both parts are drawn uniformly. If one part has too few pixels, the other fills up.

    Args:
        n: the number of pixels per image.
        share: the fraction of `n`, in [0, 1], drawn near boundaries.
        width: the largest distance of a pixel near a boundary from another label, in pixels. Void counts as a label, as
            in evaluation.
    """

    def __init__(self, n: int = 500, share: float = 0.5, width: int = 3) -> None:
        check_int("n", n, minimum=1)
        check_fraction("share", share)
        check_int("width", width, minimum=1)
        self.n, self.share, self.width = n, share, width

    def __call__(self, mask: Tensor, generator: torch.Generator, logits: LogitsAt | None = None) -> Tensor:
        """See `Sampler`."""
        band, valid = boundary_band(mask, self.width), mask != IGNORE_INDEX
        far = (valid & ~band).nonzero()
        near = draw_without_replacement(
            (valid & band).nonzero(), max(round(self.share * self.n), self.n - len(far)), generator
        )
        return torch.cat([near, draw_without_replacement(far, self.n - len(near), generator)])
