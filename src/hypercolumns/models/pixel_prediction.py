"""Per-pixel predictions from class probabilities: label, confidence and entropy."""

import math
from typing import Literal, NamedTuple

import torch
from torch import Tensor

Detail = Literal["labels", "certainty", "probabilities"]  # each value gives more outputs than the value before


class PixelPrediction(NamedTuple):
    """The predicted class of every pixel, and measures of how certain the prediction is.

    Attributes:
        labels: (B, H, W) uint8, the index of the most probable class.
        confidence: (B, H, W) float in [0, 1], the probability of the most probable class.
        entropy: (B, H, W) float in [0, 1], the entropy of the class probabilities divided by its maximum, log(classes).
        probabilities: (B, classes, H, W) float, the probabilities of all classes; None if they were not requested.
    """

    labels: Tensor
    confidence: Tensor
    entropy: Tensor
    probabilities: Tensor | None


def certainty(probabilities: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Find the most probable class, the probability of this class, and the normalised entropy of the probabilities.

    Args:
        probabilities: (..., classes) float, the class probabilities, which sum to 1.

    Returns:
        Three tensors (..., 1): the index of the most probable class (int64), the probability of this class, and the
        entropy of all probabilities divided by its maximum, log(classes). With a single class, the entropy is 0.
    """
    entropy = torch.special.entr(probabilities).sum(-1, keepdim=True) / math.log(max(probabilities.shape[-1], 2))
    confidence, labels = probabilities.max(-1, keepdim=True)
    return labels, confidence, entropy
