"""The LightningModules: what a training step is, and how images are scored."""

from hypercolumns.tasks.pixel_classification import PixelClassification
from hypercolumns.tasks.scoring import Labeller, Scoring
from hypercolumns.tasks.segmentation import Segmentation

__all__ = ["Labeller", "PixelClassification", "Scoring", "Segmentation"]
