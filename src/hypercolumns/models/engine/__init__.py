"""Classifying hypercolumns without building them: every pixel, points, and only where it matters."""

from hypercolumns.models.engine.adaptive import AdaptiveSettings, adaptive_labels
from hypercolumns.models.engine.dense import Head, classify

__all__ = ["AdaptiveSettings", "Head", "adaptive_labels", "classify"]
