"""Few-label segmentation: paint some pixels, train a classifier on them at once, and look at its prediction."""

from hypercolumns.annotation.head_trainer import TrainingState
from hypercolumns.annotation.pixel_trainer import PixelTrainer
from hypercolumns.annotation.suggestions import Region
from hypercolumns.annotation.views import View

__all__ = ["PixelTrainer", "Region", "TrainingState", "View"]
