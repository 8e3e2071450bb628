"""The sampler that draws each labelled pixel of an image with equal probability."""

import torch
from torch import Tensor

from hypercolumns.errors import check_int
from hypercolumns.labels import IGNORE_INDEX
from hypercolumns.samplers.sampler import LogitsAt, Sampler, draw_pixels


class UniformSampler(Sampler):
    """Sample `n` labelled pixels of an image uniformly without replacement, or all of them if there are fewer.

    Args:
        n: the number of pixels to sample per image, at least 1.
    """

    def __init__(self, n: int = 500) -> None:
        check_int("n", n, minimum=1)
        self.n = n

    def __call__(self, mask: Tensor, generator: torch.Generator, logits: LogitsAt | None = None) -> Tensor:
        """Choose up to `n` labelled pixels, (N, 2) int64, in random order; see `Sampler.__call__`."""
        return draw_pixels(mask != IGNORE_INDEX, self.n, generator)
