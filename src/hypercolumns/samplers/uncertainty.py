"""Many pixels where a model is unsure."""

import torch
from torch import Tensor

from hypercolumns.errors import check_fraction, check_int
from hypercolumns.labels import IGNORE_INDEX
from hypercolumns.samplers.sampler import LogitsAt, Sampler, draw_without_replacement


class UncertaintySampler(Sampler):
    """n pixels of the image, most of them where the two highest logits are close.

    As PointRend trains (Kirillov et al., arXiv:1912.08193, section 3.1): of `oversample_ratio` * n candidates, drawn
    with equal chances, the `importance_sample_ratio` * n most uncertain are taken; the rest is drawn, with equal
    chances, from all others.
    """

    needs_logits = True

    def __init__(self, n: int = 500, oversample_ratio: int = 3, importance_sample_ratio: float = 0.75) -> None:
        """Set the numbers.

        Args:
            n: pixels an image.
            oversample_ratio: k of the paper, candidates a pixel.
            importance_sample_ratio: beta of the paper, the fraction of `n` taken where the model is least sure.
        """
        check_int("n", n, minimum=1)
        check_int("oversample_ratio", oversample_ratio, minimum=1)
        check_fraction("importance_sample_ratio", importance_sample_ratio)
        self.n = n
        self.oversample_ratio, self.importance_sample_ratio = oversample_ratio, importance_sample_ratio

    def __call__(self, mask: Tensor, generator: torch.Generator, logits: LogitsAt | None = None) -> Tensor:
        """See `Sampler`."""
        assert logits is not None, "who calls a sampler that needs a model has one"
        pixels = draw_without_replacement((mask != IGNORE_INDEX).nonzero(), mask.numel(), generator)
        if len(pixels) <= self.n:
            return pixels
        found = logits(pixels[: self.oversample_ratio * self.n])
        highest = found.topk(min(2, found.shape[1])).values
        order = (highest[:, 0] - highest[:, -1]).argsort(stable=True)  # where they are equal, chance has decided
        unsure = order[: round(self.importance_sample_ratio * self.n)]
        others = torch.ones(len(pixels), dtype=torch.bool)
        others[unsure] = False
        return torch.cat([pixels[unsure], draw_without_replacement(pixels[others], self.n - len(unsure), generator)])
