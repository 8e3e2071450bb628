"""The LightningModules: what a training step is."""

from hypercolumns.tasks.pixel_classification import PixelClassification
from hypercolumns.tasks.segmentation import Segmentation

__all__ = ["PixelClassification", "Segmentation"]
