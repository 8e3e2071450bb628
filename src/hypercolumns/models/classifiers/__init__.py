"""Pixel classifiers, which turn hypercolumns into logits."""

from hypercolumns.models.classifiers.base import Classifier, standardize
from hypercolumns.models.classifiers.class_transfer import ClassTransfer
from hypercolumns.models.classifiers.grid import GridClassifier
from hypercolumns.models.classifiers.mlp import MLPClassifier

# The classifiers that can be loaded from a model file, by the name that the file gives.
KINDS: dict[str, type[Classifier]] = {kind.kind: kind for kind in (GridClassifier, MLPClassifier)}

__all__ = ["KINDS", "ClassTransfer", "Classifier", "GridClassifier", "MLPClassifier", "standardize"]
