"""The sampler that prefers pixels where a model is uncertain."""

import torch
from torch import Tensor

from hypercolumns.errors import check_fraction, check_int
from hypercolumns.labels import IGNORE_INDEX
from hypercolumns.samplers.sampler import LogitsAt, Sampler, draw_without_replacement


class UncertaintySampler(Sampler):
    """Sample `n` labelled pixels of an image, and prefer pixels whose two highest logits are close.

    This is the training-time sampling of PointRend (Kirillov et al., arXiv:1912.08193, section 3.1). First,
    `oversample_ratio` * n candidates are drawn uniformly. The `importance_sample_ratio` * n candidates with the closest
    logits are taken. The other samples are drawn uniformly from all remaining labelled pixels. If the image has at most
    `n` labelled pixels, all are taken.

    Args:
        n: the number of pixels per image.
        oversample_ratio: the number of candidates per sample, k in the paper.
        importance_sample_ratio: the fraction of `n`, in [0, 1], that is taken from the candidates by their logits; beta
            in the paper.
    """

    needs_logits = True

    def __init__(self, n: int = 500, oversample_ratio: int = 3, importance_sample_ratio: float = 0.75) -> None:
        check_int("n", n, minimum=1)
        check_int("oversample_ratio", oversample_ratio, minimum=1)
        check_fraction("importance_sample_ratio", importance_sample_ratio)
        self.n = n
        self.oversample_ratio, self.importance_sample_ratio = oversample_ratio, importance_sample_ratio

    def __call__(self, mask: Tensor, generator: torch.Generator, logits: LogitsAt | None = None) -> Tensor:
        """See `Sampler`."""
        assert logits is not None, "UncertaintySampler must be called with logits"
        pixels = draw_without_replacement((mask != IGNORE_INDEX).nonzero(), mask.numel(), generator)
        if len(pixels) <= self.n:
            return pixels
        values = logits(pixels[: self.oversample_ratio * self.n])
        highest = values.topk(min(2, values.shape[1])).values
        order = (highest[:, 0] - highest[:, -1]).argsort(stable=True)  # ties keep the random order of `pixels`
        uncertain = order[: round(self.importance_sample_ratio * self.n)]
        others = torch.ones(len(pixels), dtype=torch.bool)
        others[uncertain] = False
        return torch.cat(
            [pixels[uncertain], draw_without_replacement(pixels[others], self.n - len(uncertain), generator)]
        )
