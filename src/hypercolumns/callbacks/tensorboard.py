"""A TensorBoard logger that also logs pictures."""

import io
import math
from collections.abc import Mapping
from typing import Any

from PIL import Image
from pytorch_lightning.loggers import TensorBoardLogger
from tensorboard.compat.proto.summary_pb2 import Summary


class ImageTensorBoardLogger(TensorBoardLogger):
    """Lightning's TensorBoardLogger, but it can log pictures, and leaves out NaN values and the number of the epoch."""

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        shown = {name: value for name, value in metrics.items() if name != "epoch" and not math.isnan(value)}
        super().log_metrics(shown, step)

    def log_picture(self, name: str, picture: bytes, step: int = 0) -> None:
        """Log a picture.

        Args:
            name: the picture's name; TensorBoard shows pictures together whose names are equal up to the slash.
            picture: the contents of a PNG file.
            step: the training step.
        """
        with Image.open(io.BytesIO(picture)) as opened:
            width, height = opened.size
        image = Summary.Image(height=height, width=width, colorspace=3, encoded_image_string=picture)
        experiment: Any = self.experiment  # `experiment.add_image` would compress the picture again
        experiment._get_file_writer().add_summary(Summary(value=[Summary.Value(tag=name, image=image)]), step)
