"""Classify hypercolumns without building them: every pixel, at points, or adaptively."""

from hypercolumns.models.engine.adaptive import AdaptiveSettings, adaptive_labels
from hypercolumns.models.engine.dense import Head, classify

__all__ = ["AdaptiveSettings", "Head", "adaptive_labels", "classify"]
