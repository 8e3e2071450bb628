"""Classifying hypercolumns without building them: every pixel, points, and only where it matters."""

from hypercolumns.models.engine.adaptive import Adaptive, adaptive_labels
from hypercolumns.models.engine.dense import Rest, classify

__all__ = ["Adaptive", "Rest", "adaptive_labels", "classify"]
