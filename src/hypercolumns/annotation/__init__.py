"""Few-label segmentation: paint some pixels, train a classifier on them at once, and look at its prediction."""

from hypercolumns.annotation.learning.head_trainer import TrainingState
from hypercolumns.annotation.learning.pixel_trainer import PixelTrainer
from hypercolumns.annotation.learning.suggestions import Readiness, Region
from hypercolumns.annotation.learning.views import View

__all__ = ["PixelTrainer", "Readiness", "Region", "TrainingState", "View"]
