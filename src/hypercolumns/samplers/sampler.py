"""The base class of the samplers."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import ClassVar

import torch
from torch import Tensor

LogitsAt = Callable[[Tensor], Tensor]  # pixels (N, 2) as (row, column) -> a model's logits (N, classes)


class Sampler(ABC):
    """A choice of pixels of a mask.

    Attributes:
        needs_logits: whether the sampler must be called with `logits`.
    """

    needs_logits: ClassVar[bool] = False

    @abstractmethod
    def __call__(self, mask: Tensor, generator: torch.Generator, logits: LogitsAt | None = None) -> Tensor:
        """Choose labelled pixels of a mask.

        Args:
            mask: (H, W) integer class indices, 255 for void.
            generator: the source of randomness. The same state and the same logits give the same pixels.
            logits: computes a model's logits at pixels of the image; required if `needs_logits` is true.

        Returns:
            (N, 2) int64, the row and column of each pixel; no pixel occurs twice and none is void.
        """
        ...


def draw_without_replacement(pixels: Tensor, n: int, generator: torch.Generator) -> Tensor:
    """Draw pixels uniformly without replacement.

    Args:
        pixels: (P, 2) int64.
        n: the number of pixels to draw.
        generator: the source of randomness.

    Returns:
        (min(n, P), 2) int64, in random order.
    """
    return pixels[torch.randperm(len(pixels), generator=generator)[:n]]
