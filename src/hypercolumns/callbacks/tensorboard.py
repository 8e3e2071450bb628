"""What is written for TensorBoard."""

import io
import math
from collections.abc import Mapping
from typing import Any

from PIL import Image
from pytorch_lightning.loggers import TensorBoardLogger
from tensorboard.compat.proto.summary_pb2 import Summary


class ImageTensorBoardLogger(TensorBoardLogger):
    """Lightning's TensorBoardLogger, for pictures too; without NaNs and the number of the epoch, a chart of its own."""

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        kept = {name: value for name, value in metrics.items() if name != "epoch" and not math.isnan(value)}
        super().log_metrics(kept, step)

    def log_picture(self, name: str, picture: bytes, step: int = 0) -> None:
        """Log a picture, the contents of a PNG; in TensorBoard, those whose names agree up to the / are a group."""
        with Image.open(io.BytesIO(picture)) as opened:
            width, height = opened.size
        image = Summary.Image(height=height, width=width, colorspace=3, encoded_image_string=picture)
        experiment: Any = self.experiment  # whose add_image would compress it, and again what is in a file too
        experiment._get_file_writer().add_summary(Summary(value=[Summary.Value(tag=name, image=image)]), step)
