"""What every sampler does."""

from typing import Protocol

import torch
from torch import Tensor


class Sampler(Protocol):
    """Chooses pixels of a mask."""

    def __call__(self, mask: Tensor, generator: torch.Generator) -> Tensor:
        """Choose among the pixels of `mask` (H, W), integer class indices, that are not void (255).

        Returns (N, 2) int64, row and column of each, no pixel twice; the same for the same state of the generator.
        """
        ...


def choose(pixels: Tensor, n: int, generator: torch.Generator) -> Tensor:
    """N of these pixels (P, 2), without replacement, each as likely; all of them in random order if P <= n."""
    return pixels[torch.randperm(len(pixels), generator=generator)[:n]]
