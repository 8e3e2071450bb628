"""As many pixels of each class as can be."""

import torch
from torch import Tensor

from hypercolumns.errors import check_int
from hypercolumns.labels import IGNORE_INDEX
from hypercolumns.samplers.quotas import allocate_evenly
from hypercolumns.samplers.sampler import LogitsAt, Sampler, draw_without_replacement


class BalancedSampler(Sampler):
    """n pixels of the image, shared among its classes as evenly as can be, in the order of the classes.

    A class that has fewer gives all it has, and the others the rest. What is left over by dividing goes to the most
    frequent classes, see `allocate_evenly`; so where n is less than the number of classes, the rarest give none.
    """

    def __init__(self, n: int = 500) -> None:
        """n: pixels an image."""
        check_int("n", n, minimum=1)
        self.n = n

    def __call__(self, mask: Tensor, generator: torch.Generator, logits: LogitsAt | None = None) -> Tensor:
        """See `Sampler`."""
        shares = allocate_evenly(mask[mask != IGNORE_INDEX].bincount().tolist(), self.n)
        chosen = [
            draw_without_replacement((mask == label).nonzero(), share, generator)
            for label, share in enumerate(shares)
            if share
        ]
        return torch.cat(chosen) if chosen else torch.empty(0, 2, dtype=torch.int64)
