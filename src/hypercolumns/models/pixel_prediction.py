"""Per-pixel predictions from class probabilities: label, confidence and entropy."""

import math
from typing import Literal, NamedTuple

import torch
from torch import Tensor

Detail = Literal["labels", "certainty", "probabilities"]  # each adds to the detail before it


class PixelPrediction(NamedTuple):
    """The predicted class of every pixel, and how certain the model is of it.

    Attributes:
        labels: (B, H, W) uint8, the most probable classes.
        confidence: (B, H, W), the probabilities of these classes.
        entropy: (B, H, W) in [0, 1], the entropy of the class probabilities divided by log(classes), its maximum.
        probabilities: (B, classes, H, W), or None if they were not requested.
    """

    labels: Tensor
    confidence: Tensor
    entropy: Tensor
    probabilities: Tensor | None


def certainty(probabilities: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Reduce class probabilities to the most probable class, its probability, and the normalised entropy.

    Args:
        probabilities: (..., classes), float.

    Returns:
        Three tensors (..., 1): the class (int64), its probability, and the entropy divided by log(classes). With one
        class the entropy is 0.
    """
    entropy = torch.special.entr(probabilities).sum(-1, keepdim=True) / math.log(max(probabilities.shape[-1], 2))
    confidence, labels = probabilities.max(-1, keepdim=True)
    return labels, confidence, entropy
