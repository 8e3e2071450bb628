"""Lightning callbacks of our own."""

from hypercolumns.callbacks.checkpoint import MovableCheckpoint
from hypercolumns.callbacks.history import History
from hypercolumns.callbacks.pictures import Pictures
from hypercolumns.callbacks.progress import Progress
from hypercolumns.callbacks.throughput import Throughput

__all__ = ["History", "MovableCheckpoint", "Pictures", "Progress", "Throughput"]
