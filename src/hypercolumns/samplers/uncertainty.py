"""The sampler that prefers pixels at which a model is uncertain of the class."""

import torch
from torch import Tensor

from hypercolumns.errors import check_fraction, check_int
from hypercolumns.labels import IGNORE_INDEX
from hypercolumns.samplers.sampler import LogitsAt, Sampler, draw_without_replacement, pixels_at


class UncertaintySampler(Sampler):
    """Sample `n` labelled pixels of an image, and prefer pixels whose two highest logits are close to each other.

    This is the training-time sampling of PointRend (Kirillov et al., arXiv:1912.08193, section 3.1):

    1. `oversample_ratio` * n candidates are drawn uniformly, or all labelled pixels if there are fewer.
    2. The `importance_sample_ratio` * n candidates with the smallest difference between their two highest logits are
       taken.
    3. The remaining samples are drawn uniformly from all labelled pixels that are not yet taken. These pixels include
       the remaining candidates.

    If the image has at most `n` labelled pixels, all of them are taken.

    Args:
        n: the number of pixels to sample per image, at least 1.
        oversample_ratio: the number of candidates divided by `n`, a whole number of at least 1; k in the paper.
        importance_sample_ratio: the fraction of `n` that is taken in step 2, in [0, 1]; beta in the paper.
    """

    needs_logits = True

    def __init__(self, n: int = 500, oversample_ratio: int = 3, importance_sample_ratio: float = 0.75) -> None:
        check_int("n", n, minimum=1)
        check_int("oversample_ratio", oversample_ratio, minimum=1)
        check_fraction("importance_sample_ratio", importance_sample_ratio)
        self.n = n
        self.oversample_ratio, self.importance_sample_ratio = oversample_ratio, importance_sample_ratio

    def __call__(self, mask: Tensor, generator: torch.Generator, logits: LogitsAt | None = None) -> Tensor:
        """Choose up to `n` labelled pixels, (N, 2) int64, by their `logits`; see `Sampler.__call__`."""
        assert logits is not None, "UncertaintySampler must be called with logits"
        # Pixels are numbered row by row: rows and columns of all pixels would take twice the memory.
        numbers = (mask != IGNORE_INDEX).flatten().nonzero()[:, 0]
        numbers = draw_without_replacement(numbers, mask.numel(), generator)
        if len(numbers) <= self.n:
            return pixels_at(numbers, mask.shape[1])
        values = logits(pixels_at(numbers[: self.oversample_ratio * self.n], mask.shape[1]))
        highest = values.topk(min(2, values.shape[1])).values
        # A stable sort leaves candidates with equal differences in random order.
        order = (highest[:, 0] - highest[:, -1]).argsort(stable=True)
        uncertain = order[: round(self.importance_sample_ratio * self.n)]
        others = torch.ones(len(numbers), dtype=torch.bool)
        others[uncertain] = False
        drawn = draw_without_replacement(numbers[others], self.n - len(uncertain), generator)
        return pixels_at(torch.cat([numbers[uncertain], drawn]), mask.shape[1])
