"""Lightning callbacks of our own."""

from hypercolumns.callbacks.line_progress import LineProgress

__all__ = ["LineProgress"]
