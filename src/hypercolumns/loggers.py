"""What is written for TensorBoard."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pytorch_lightning.loggers import TensorBoardLogger


class EventLogger(TensorBoardLogger):
    """Lightning's TensorBoardLogger, for pictures too; without NaNs and the number of the epoch, a chart of its own."""

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Log those that say something."""
        kept = {name: value for name, value in metrics.items() if name != "epoch" and not math.isnan(value)}
        super().log_metrics(kept, step)

    def log_picture(self, name: str, picture: NDArray[np.uint8], step: int = 0) -> None:
        """Log a picture (H, W, 3); in TensorBoard, those whose names agree up to the / are a group."""
        experiment: Any = self.experiment
        experiment.add_image(name, picture, step, dataformats="HWC")
