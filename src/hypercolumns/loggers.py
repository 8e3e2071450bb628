"""What is written for TensorBoard."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pytorch_lightning.loggers import TensorBoardLogger


class EventLogger(TensorBoardLogger):
    """Lightning's TensorBoardLogger, for pictures too, and without the number of the epoch, a chart of its own."""

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Log all but the number of the epoch."""
        super().log_metrics({name: value for name, value in metrics.items() if name != "epoch"}, step)

    def log_picture(self, name: str, picture: NDArray[np.uint8], step: int = 0) -> None:
        """Log a picture (H, W, 3); in TensorBoard, those whose names agree up to the / are a group."""
        experiment: Any = self.experiment
        experiment.add_image(name, picture, step, dataformats="HWC")
