"""The sampler that prefers pixels near label boundaries."""

import torch
from torch import Tensor

from hypercolumns.errors import check_fraction, check_int
from hypercolumns.labels import IGNORE_INDEX, boundary_band
from hypercolumns.samplers.sampler import LogitsAt, Sampler, draw_without_replacement


class BoundarySampler(Sampler):
    """Sample `n` labelled pixels of an image, a fraction of them near label boundaries and the others far from them.

    Both parts are drawn uniformly. If too few pixels are near boundaries, or too few are far, the other part fills up.

    Args:
        n: the number of pixels per image.
        share: the fraction of `n`, in [0, 1], drawn near boundaries.
        width: a pixel is near a boundary if another label occurs within this many pixels of it. Void counts as a
            label, as in evaluation.
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
