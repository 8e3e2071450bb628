"""Per-pixel predictions from class probabilities: label, confidence and entropy."""

import math
from typing import Literal, NamedTuple

import torch
from torch import Tensor

Detail = Literal["labels", "certainty", "probabilities"]  # each level includes the levels before it


class PixelPrediction(NamedTuple):
    """The predicted class of every pixel, and measures of how certain the prediction is.

    Attributes:
        labels: (B, H, W) uint8, the most probable class.
        confidence: (B, H, W), the probability of the most probable class.
        entropy: (B, H, W) in [0, 1], the entropy of the class probabilities divided by its maximum, log(classes).
        probabilities: (B, classes, H, W), the probabilities of all classes; None if they were not requested.
    """

    labels: Tensor
    confidence: Tensor
    entropy: Tensor
    probabilities: Tensor | None


def certainty(probabilities: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Find the most probable class, the probability of that class, and the normalised entropy.

    Args:
        probabilities: (..., classes), float.

    Returns:
        Three tensors (..., 1): the class (int64), the probability of that class, and the entropy divided by
        log(classes). If there is only one class, the entropy is 0.
    """
    entropy = torch.special.entr(probabilities).sum(-1, keepdim=True) / math.log(max(probabilities.shape[-1], 2))
    confidence, labels = probabilities.max(-1, keepdim=True)
    return labels, confidence, entropy
