"""Every pixel as likely as every other."""

import torch
from torch import Tensor

from hypercolumns.errors import check_int
from hypercolumns.labels import IGNORE_INDEX
from hypercolumns.samplers.sampler import LogitsAt, Sampler, draw_without_replacement


class UniformSampler(Sampler):
    """n pixels of the image, each pixel as likely; fewer where the image has fewer that are not void."""

    def __init__(self, n: int = 500) -> None:
        """n: pixels an image."""
        check_int("n", n, minimum=1)
        self.n = n

    def __call__(self, mask: Tensor, generator: torch.Generator, logits: LogitsAt | None = None) -> Tensor:
        """See `Sampler`."""
        return draw_without_replacement((mask != IGNORE_INDEX).nonzero(), self.n, generator)
