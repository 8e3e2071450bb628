"""What is decided at pixels, given the probabilities of their classes."""

import math
from typing import Literal, NamedTuple

import torch
from torch import Tensor

Detail = Literal["labels", "certainty", "probabilities"]  # what is computed of pixels; each adds to the one before


class PixelPrediction(NamedTuple):
    """What was decided at every pixel of images, and how sure that is.

    Attributes:
        labels: (B, H, W) uint8, the most probable classes.
        confidence: (B, H, W), their probabilities.
        entropy: (B, H, W), that of all classes' probabilities, as a share of its maximum, log(classes).
        probabilities: (B, classes, H, W), where they were asked for.
    """

    labels: Tensor
    confidence: Tensor
    entropy: Tensor
    probabilities: Tensor | None


def certainty(probabilities: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Of probabilities (..., classes): the most probable class, its probability, and the entropy, each (..., 1)."""
    entropy = torch.special.entr(probabilities).sum(-1, keepdim=True) / math.log(max(probabilities.shape[-1], 2))
    confidence, labels = probabilities.max(-1, keepdim=True)
    return labels, confidence, entropy
