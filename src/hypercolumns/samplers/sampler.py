"""What every sampler does."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import ClassVar

import torch
from torch import Tensor

LogitsAt = Callable[[Tensor], Tensor]  # a model's at points (N, 2) of the image, row and column: (N, classes)


class Sampler(ABC):
    """Chooses pixels of a mask.

    Attributes:
        needs_logits: whether it must be given `logits`.
    """

    needs_logits: ClassVar[bool] = False

    @abstractmethod
    def __call__(self, mask: Tensor, generator: torch.Generator, logits: LogitsAt | None = None) -> Tensor:
        """Choose among the pixels of `mask` (H, W), integer class indices, that are not void (255).

        Returns (N, 2) int64, row and column of each, no pixel twice; the same for the same state of the generator and
        the same logits.
        """
        ...


def draw_without_replacement(pixels: Tensor, n: int, generator: torch.Generator) -> Tensor:
    """N of these pixels (P, 2), without replacement, each as likely; all of them in random order if P <= n."""
    return pixels[torch.randperm(len(pixels), generator=generator)[:n]]
