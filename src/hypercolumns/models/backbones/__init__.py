"""Backbones: convolutional networks that return the feature maps of their taps."""

from hypercolumns.models.backbones.backbone import IMAGENET_MEAN, IMAGENET_STD, Backbone, as_float

__all__ = ["IMAGENET_MEAN", "IMAGENET_STD", "Backbone", "as_float"]
