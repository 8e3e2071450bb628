"""Losses, which compare logits (N, classes) with labels (N,).

Pixels whose label is the ignore index 255 (void) do not count.
"""

from hypercolumns.losses.base import ClassWeights, Loss, balanced_weights
from hypercolumns.losses.cross_entropy import CrossEntropy, cross_entropy
from hypercolumns.losses.ohem import OHEMCrossEntropy
from hypercolumns.losses.regions import Dice, Lovasz
from hypercolumns.losses.weighted_sum import WeightedSum

__all__ = [
    "ClassWeights",
    "CrossEntropy",
    "Dice",
    "Loss",
    "Lovasz",
    "OHEMCrossEntropy",
    "WeightedSum",
    "balanced_weights",
    "cross_entropy",
]
