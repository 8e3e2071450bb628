"""The base class of the samplers."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import ClassVar

import torch
from torch import Tensor

LogitsAt = Callable[[Tensor], Tensor]  # pixels (N, 2) as (row, column) -> a model's logits (N, classes)


class Sampler(ABC):
    """A rule that chooses which labelled pixels of a mask are sampled.

    Attributes:
        needs_logits: whether the sampler must be called with `logits`.
    """

    needs_logits: ClassVar[bool] = False

    @abstractmethod
    def __call__(self, mask: Tensor, generator: torch.Generator, logits: LogitsAt | None = None) -> Tensor:
        """Choose labelled pixels of a mask.

        Args:
            mask: (H, W) integer class indices, 255 for void.
            generator: the random generator. The same mask, logits and state of the generator give the same pixels.
            logits: a function that computes a model's logits at pixels of the image. It must be given if `needs_logits`
                is true.

        Returns:
            (N, 2) int64, the row and column of each pixel; no pixel occurs twice and none is void.
        """
        ...


def draw_without_replacement(pixels: Tensor, n: int, generator: torch.Generator) -> Tensor:
    """Draw pixels uniformly without replacement.

    Args:
        pixels: (P, 2) int64.
        n: the number of pixels to draw.
        generator: the random generator.

    Returns:
        (min(n, P), 2) int64, in random order.
    """
    return pixels[torch.randperm(len(pixels), generator=generator)[:n]]
