"""LightningModules for training and scoring."""

from hypercolumns.tasks.evaluation_task import EvaluationTask, LabelPredictor
from hypercolumns.tasks.pixel_classification import PixelClassificationTask
from hypercolumns.tasks.segmentation import SegmentationTask

__all__ = ["EvaluationTask", "LabelPredictor", "PixelClassificationTask", "SegmentationTask"]
