"""Convolutional networks, cut at taps."""

from hypercolumns.backbones.backbone import Backbone

__all__ = ["Backbone"]
