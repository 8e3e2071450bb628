"""The stand-in for a network: every operation is replaced by the unweighted mean of the operation's inputs.

A value that has no place in the image, such as the result of attention, is 0 in a stand-in for centres. Sums then leave
it out, because the maps of an image of ones say how much each sum has counted.
"""

from hypercolumns.models.backbones.stand_in._joins import Path, prefer_path
from hypercolumns.models.backbones.stand_in._maps import whole
from hypercolumns.models.backbones.stand_in._propagation import (
    ConstantsOnMeta,
    GatedMeanPropagation,
    IndicesOnCPU,
    MeanPropagation,
)

__all__ = ["ConstantsOnMeta", "GatedMeanPropagation", "IndicesOnCPU", "MeanPropagation", "Path", "prefer_path", "whole"]
