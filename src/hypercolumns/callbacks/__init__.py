"""Lightning callbacks of our own."""

from hypercolumns.callbacks.checkpoint import CompleteCheckpoint, MovableCheckpoint
from hypercolumns.callbacks.history import History
from hypercolumns.callbacks.pictures import Pictures
from hypercolumns.callbacks.progress import Progress
from hypercolumns.callbacks.throughput import Throughput

__all__ = ["CompleteCheckpoint", "History", "MovableCheckpoint", "Pictures", "Progress", "Throughput"]
