"""Classify pixels without building their hypercolumns: all pixels, some pixels, or all by adaptive prediction."""

from hypercolumns.models.engine.adaptive import AdaptiveSettings, adaptive_decisions, adaptive_labels
from hypercolumns.models.engine.dense import Head, classify

__all__ = ["AdaptiveSettings", "Head", "adaptive_decisions", "adaptive_labels", "classify"]
