"""Many pixels where labels change."""

import torch
from torch import Tensor

from hypercolumns.errors import check_fraction, check_int
from hypercolumns.labels import IGNORE_INDEX, boundary_band
from hypercolumns.samplers.sampler import LogitsAt, Sampler, draw_without_replacement


class BoundarySampler(Sampler):
    """n pixels of the image: a share of them near boundaries, the rest elsewhere, each as likely as others there.

    Near is within `width` pixels of another label, which may be void, as in evaluation. Where there are too few pixels
    of one kind, more are taken of the other.
    """

    def __init__(self, n: int = 500, share: float = 0.5, width: int = 3) -> None:
        """n: pixels an image; share: of them near boundaries; width: of what is near, in pixels."""
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
