"""Pixel classifiers: hypercolumns in, class scores out."""

from hypercolumns.models.classifiers.base import Classifier, standardize
from hypercolumns.models.classifiers.grid import GridClassifier
from hypercolumns.models.classifiers.mlp import MLPClassifier

# The classifiers that a model file may name.
KINDS: dict[str, type[Classifier]] = {kind.kind: kind for kind in (GridClassifier, MLPClassifier)}

__all__ = ["KINDS", "Classifier", "GridClassifier", "MLPClassifier", "standardize"]
