"""Convolutional networks, cut at taps."""

from hypercolumns.models.backbones.backbone import Backbone

__all__ = ["Backbone"]
