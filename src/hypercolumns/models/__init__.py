"""The model in plain PyTorch: backbones, hypercolumns and classifiers."""

from hypercolumns.models.backbones import Backbone
from hypercolumns.models.classifiers import Classifier, GridClassifier, MLPClassifier
from hypercolumns.models.engine import AdaptiveSettings
from hypercolumns.models.extractor import HypercolumnExtractor
from hypercolumns.models.predictor import Prediction, SegmentationPredictor
from hypercolumns.models.segmenter import Segmenter
from hypercolumns.models.tta import TestTimeAugmentation

__all__ = [
    "AdaptiveSettings",
    "Backbone",
    "Classifier",
    "GridClassifier",
    "HypercolumnExtractor",
    "MLPClassifier",
    "Prediction",
    "SegmentationPredictor",
    "Segmenter",
    "TestTimeAugmentation",
]
