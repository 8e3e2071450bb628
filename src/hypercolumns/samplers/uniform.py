"""Every pixel as likely as every other."""

import torch
from torch import Tensor

from hypercolumns.errors import check_whole
from hypercolumns.io.images import VOID
from hypercolumns.samplers.sampler import Logits, Sampler, choose


class Uniform(Sampler):
    """n pixels of the image, each pixel as likely; fewer where the image has fewer that are not void."""

    def __init__(self, n: int = 500) -> None:
        """n: pixels an image."""
        check_whole("sampler.n", n, least=1)
        self.n = n

    def __call__(self, mask: Tensor, generator: torch.Generator, logits: Logits | None = None) -> Tensor:
        """See `Sampler`."""
        return choose((mask != VOID).nonzero(), self.n, generator)
