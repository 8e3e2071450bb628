"""Pixel classifiers: hypercolumns in, class scores out."""

from hypercolumns.models.classifiers.base import Classifier, standardised
from hypercolumns.models.classifiers.grid import Grid
from hypercolumns.models.classifiers.mlp import MLP

KINDS: dict[str, type[Classifier]] = {kind.kind: kind for kind in (Grid, MLP)}  # those that a model file may name

__all__ = ["KINDS", "MLP", "Classifier", "Grid", "standardised"]
