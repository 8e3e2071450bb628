"""Pixel classifiers: hypercolumns in, class scores out."""

from hypercolumns.classifiers.mlp import MLP

__all__ = ["MLP"]
