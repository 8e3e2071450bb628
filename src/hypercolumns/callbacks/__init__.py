"""Lightning callbacks of our own."""

from hypercolumns.callbacks.averaging import MovingAverage
from hypercolumns.callbacks.checkpoint import (
    CompleteCheckpoint,
    LastCheckpoints,
    MovableCheckpoint,
    WholeFiles,
    resume_point,
)
from hypercolumns.callbacks.finite import Finite
from hypercolumns.callbacks.history import History
from hypercolumns.callbacks.patience import Patience
from hypercolumns.callbacks.pictures import Pictures
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
