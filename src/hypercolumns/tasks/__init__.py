"""LightningModules for training and scoring."""

from hypercolumns.tasks.evaluation_task import EvaluationTask, LabelPredictor
from hypercolumns.tasks.pixel_classification import PixelClassificationTask
from hypercolumns.tasks.segmentation import SegmentationTask
from hypercolumns.tasks.val_metrics import VAL_METRICS

__all__ = ["VAL_METRICS", "EvaluationTask", "LabelPredictor", "PixelClassificationTask", "SegmentationTask"]
