"""The same number of pixels of each class (the original's sampler)."""

import torch
from torch import Tensor

from hypercolumns.errors import check_int
from hypercolumns.labels import IGNORE_INDEX
from hypercolumns.samplers.sampler import LogitsAt, Sampler, draw_without_replacement


class PerClassSampler(Sampler):
    """n pixels of each class in the image, in the order of the classes; fewer of a class that has fewer."""

    def __init__(self, n: int = 3) -> None:
        """n: pixels a class."""
        check_int("n", n, minimum=1)
        self.n = n

    def __call__(self, mask: Tensor, generator: torch.Generator, logits: LogitsAt | None = None) -> Tensor:
        """See `Sampler`."""
        present = mask.flatten().bincount().nonzero().flatten()
        classes = [label for label in present.tolist() if label != IGNORE_INDEX]
        chosen = [draw_without_replacement((mask == label).nonzero(), self.n, generator) for label in classes]
        return torch.cat(chosen) if chosen else torch.empty(0, 2, dtype=torch.int64)
