"""The base class of the samplers."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import ClassVar

import torch
from torch import Tensor

LogitsAt = Callable[[Tensor], Tensor]  # from pixels (N, 2), as (row, column), to a model's logits (N, classes)


class Sampler(ABC):
    """A rule that chooses which labelled pixels of a mask are sampled.

    Attributes:
        needs_logits: whether the sampler needs the argument `logits` when it is called.
    """

    needs_logits: ClassVar[bool] = False

    @abstractmethod
    def __call__(self, mask: Tensor, generator: torch.Generator, logits: LogitsAt | None = None) -> Tensor:
        """Choose labelled pixels of a mask.

        Args:
            mask: (H, W) integer class indices, 255 for void.
            generator: the generator of random numbers. The same mask, logits and state of the generator always give the
                same pixels.
            logits: a function that computes a model's logits (N, classes) at pixels (N, 2) of the mask's image. You
                must pass it if `needs_logits` is true.

        Returns:
            (N, 2) int64, the (row, column) of each chosen pixel. No pixel occurs twice, and no pixel is void.
        """
        ...


def draw_pixels(allowed: Tensor, n: int, generator: torch.Generator) -> Tensor:
    """Draw `n` pixels of an image uniformly without replacement, or all allowed pixels if there are fewer.

    Args:
        allowed: (H, W) bool, true for the pixels to draw from.
        n: the number of pixels to draw.
        generator: the generator of random numbers.

    Returns:
        (min(n, P), 2) int64, the (row, column) of each drawn pixel, in random order. P is the number of allowed pixels.
    """
    # Of a large image, the order and the places of the allowed pixels are not held at the same time.
    order = torch.randperm(int(allowed.sum()), generator=generator)[:n].clone()
    return pixels_at(allowed.flatten().nonzero()[:, 0][order], allowed.shape[1])


def pixels_at(numbers: Tensor, width: int) -> Tensor:
    """Return the (row, column) of pixels (N,) that are numbered row by row, (N, 2) int64."""
    return torch.stack([numbers // width, numbers % width], dim=1)


def draw_without_replacement(pixels: Tensor, n: int, generator: torch.Generator) -> Tensor:
    """Draw `n` pixels uniformly without replacement, or all pixels if there are fewer.

    Args:
        pixels: (P, 2) int64, the (row, column) of each pixel.
        n: the number of pixels to draw.
        generator: the generator of random numbers.

    Returns:
        (min(n, P), 2) int64, the drawn pixels in random order.
    """
    return pixels[torch.randperm(len(pixels), generator=generator)[:n]]
