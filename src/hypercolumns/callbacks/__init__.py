"""Lightning callbacks of our own."""

from hypercolumns.callbacks.checkpoint import (
    CompleteCheckpoint,
    LastCheckpoints,
    MovableCheckpoint,
    WholeFiles,
    resume_point,
)
from hypercolumns.callbacks.early_stopping import Patience
from hypercolumns.callbacks.ema import MovingAverage
from hypercolumns.callbacks.metrics_csv import History
from hypercolumns.callbacks.non_finite import Finite
from hypercolumns.callbacks.prediction_panels import Pictures
from hypercolumns.callbacks.progress import Progress
from hypercolumns.callbacks.pruning import PrunedError, Pruning
from hypercolumns.callbacks.throughput import Throughput

__all__ = [
    "CompleteCheckpoint",
    "Finite",
    "History",
    "LastCheckpoints",
    "MovableCheckpoint",
    "MovingAverage",
    "Patience",
    "Pictures",
    "Progress",
    "PrunedError",
    "Pruning",
    "Throughput",
    "WholeFiles",
    "resume_point",
]
