"""A logger that logs nothing."""

from typing import Any

from pytorch_lightning.loggers import Logger


class SilentLogger(Logger):
    """Log nothing. Callbacks such as `LearningRateMonitor` refuse to work without a logger."""

    name = version = ""

    def log_metrics(self, *args: Any, **kwargs: Any) -> None:
        """Do nothing."""

    def log_hyperparams(self, *args: Any, **kwargs: Any) -> None:
        """Do nothing."""
