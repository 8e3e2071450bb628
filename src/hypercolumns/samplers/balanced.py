"""The sampler that takes about the same number of pixels of each class in an image."""

import torch
from torch import Tensor

from hypercolumns.errors import check_int
from hypercolumns.labels import IGNORE_INDEX
from hypercolumns.samplers.quotas import allocate_evenly
from hypercolumns.samplers.sampler import LogitsAt, Sampler, draw_pixels


class BalancedSampler(Sampler):
    """Sample `n` labelled pixels of an image, divided among the image's classes as evenly as possible.

    Within a class, the pixels are drawn uniformly without replacement. If a class has fewer pixels than its share, all
    of its pixels are taken, and the other classes get larger shares. The remainder of the division goes to the most
    frequent classes, see `allocate_evenly`. Therefore, if `n` is smaller than the number of classes in the image, the
    rarest classes get no sample. The samples are in the order of the class indices. If the image has fewer than `n`
    labelled pixels, all of them are taken.

    Args:
        n: the number of pixels to sample per image, at least 1.
    """

    def __init__(self, n: int = 500) -> None:
        check_int("n", n, minimum=1)
        self.n = n

    def __call__(self, mask: Tensor, generator: torch.Generator, logits: LogitsAt | None = None) -> Tensor:
        """Choose up to `self.n` labelled pixels, equally many of each class if possible; see `Sampler.__call__`."""
        shares = allocate_evenly(mask[mask != IGNORE_INDEX].bincount().tolist(), self.n)
        chosen = [draw_pixels(mask == label, share, generator) for label, share in enumerate(shares) if share]
        return torch.cat(chosen) if chosen else torch.empty(0, 2, dtype=torch.int64)
