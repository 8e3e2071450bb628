"""Classifying hypercolumns without building them: every pixel, points, and only where it matters."""

from hypercolumns.factored.adaptive import Adaptive, adaptive_labels
from hypercolumns.factored.dense import Rest, classify

__all__ = ["Adaptive", "Rest", "adaptive_labels", "classify"]
