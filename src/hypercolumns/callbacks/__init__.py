"""Lightning callbacks for trainings and for the scoring of images."""

from hypercolumns.callbacks.checkpoint import (
    AtomicCheckpointIO,
    RelocatableModelCheckpoint,
    SelfContainedCheckpoint,
)
from hypercolumns.callbacks.early_stopping import ResumableEarlyStopping
from hypercolumns.callbacks.ema import EMAWeightAveraging
from hypercolumns.callbacks.metrics_csv import MetricsCSV
from hypercolumns.callbacks.non_finite import TerminateOnNonFinite
from hypercolumns.callbacks.prediction_panels import PredictionPanels
from hypercolumns.callbacks.progress_bar import TrainingProgressBar
from hypercolumns.callbacks.pruning import PrunedError, SearchPruning
from hypercolumns.callbacks.resume_checkpoint import ResumeCheckpoint, resume_point
from hypercolumns.callbacks.scheduled_rates import ScheduledRates
from hypercolumns.callbacks.throughput import Throughput
from hypercolumns.callbacks.validation_counts import ValidationCounts, evaluation_of

__all__ = [
    "AtomicCheckpointIO",
    "EMAWeightAveraging",
    "MetricsCSV",
    "PredictionPanels",
    "PrunedError",
    "RelocatableModelCheckpoint",
    "ResumableEarlyStopping",
    "ResumeCheckpoint",
    "ScheduledRates",
    "SearchPruning",
    "SelfContainedCheckpoint",
    "TerminateOnNonFinite",
    "Throughput",
    "TrainingProgressBar",
    "ValidationCounts",
    "evaluation_of",
    "resume_point",
]
