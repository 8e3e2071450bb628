"""The sampler of the original project, which takes the same number of pixels of each class in an image."""

import torch
from torch import Tensor

from hypercolumns.errors import check_int
from hypercolumns.labels import IGNORE_INDEX
from hypercolumns.samplers.sampler import LogitsAt, Sampler, draw_pixels


class PerClassSampler(Sampler):
    """Sample `n` pixels of each class that occurs in an image.

    Within a class, the pixels are drawn uniformly without replacement. If a class has fewer than `n` pixels in the
    image, all of these are taken. The samples are in the order of the class indices.

    Args:
        n: the number of pixels to sample per class and image, at least 1.
    """

    def __init__(self, n: int = 3) -> None:
        check_int("n", n, minimum=1)
        self.n = n

    def __call__(self, mask: Tensor, generator: torch.Generator, logits: LogitsAt | None = None) -> Tensor:
        """Choose up to `n` pixels of each class, (N, 2) int64; see `Sampler.__call__`."""
        present = mask.flatten().bincount().nonzero().flatten()
        classes = [label for label in present.tolist() if label != IGNORE_INDEX]
        chosen = [draw_pixels(mask == label, self.n, generator) for label in classes]
        return torch.cat(chosen) if chosen else torch.empty(0, 2, dtype=torch.int64)
