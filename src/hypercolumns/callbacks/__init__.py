"""Lightning callbacks of our own."""

from hypercolumns.callbacks.checkpoint import MovableCheckpoint
from hypercolumns.callbacks.line_progress import LineProgress

__all__ = ["LineProgress", "MovableCheckpoint"]
