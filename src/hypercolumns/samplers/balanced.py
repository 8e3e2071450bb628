"""The sampler that balances the classes of an image."""

import torch
from torch import Tensor

from hypercolumns.errors import check_int
from hypercolumns.labels import IGNORE_INDEX
from hypercolumns.samplers.quotas import allocate_evenly
from hypercolumns.samplers.sampler import LogitsAt, Sampler, draw_without_replacement


class BalancedSampler(Sampler):
    """Sample `n` labelled pixels of an image, divided among its classes as evenly as possible.

    If a class has too few pixels, all of them are taken, and the other classes fill up. The remainder of the division
    goes to the most frequent classes, see `allocate_evenly`. If `n` is smaller than the number of classes in the image,
    the rarest classes therefore get no sample. The samples are in the order of the class indices.

    Args:
        n: the number of pixels per image.
    """

    def __init__(self, n: int = 500) -> None:
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
