"""Backbones: convolutional networks that return the feature maps of their taps."""

from hypercolumns.models.backbones._normalisation import IMAGENET_MEAN, IMAGENET_STD, as_float
from hypercolumns.models.backbones.backbone import Backbone

__all__ = ["IMAGENET_MEAN", "IMAGENET_STD", "Backbone", "as_float"]
