"""Convolutional networks, cut at taps."""

from hypercolumns.models.backbones.backbone import IMAGENET_MEAN, IMAGENET_STD, Backbone

__all__ = ["IMAGENET_MEAN", "IMAGENET_STD", "Backbone"]
