"""A TensorBoard logger that also logs pictures."""

import io
import math
from collections.abc import Mapping
from typing import Any

from PIL import Image
from pytorch_lightning.loggers import TensorBoardLogger
from tensorboard.compat.proto.summary_pb2 import Summary


class ImageTensorBoardLogger(TensorBoardLogger):
    """Lightning's TensorBoardLogger, which can also log pictures.

    The logger does not write metrics that are NaN. It also leaves out the metric `epoch`, the number of the epoch.
    """

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Log metrics, without those that are NaN and without the number of the epoch."""
        shown = {name: value for name, value in metrics.items() if name != "epoch" and not math.isnan(value)}
        super().log_metrics(shown, step)

    def log_picture(self, name: str, picture: bytes, step: int = 0) -> None:
        """Log a picture under a name, at a training step.

        Args:
            name: the picture's name, such as `val_images/worst_1`. TensorBoard shows pictures together if their names
                have the same text before the slash.
            picture: the contents of a PNG file.
            step: the number of the training step.
        """
        with Image.open(io.BytesIO(picture)) as opened:
            width, height = opened.size
        image = Summary.Image(height=height, width=width, colorspace=3, encoded_image_string=picture)
        experiment: Any = self.experiment  # its method `add_image` would compress the picture again
        experiment._get_file_writer().add_summary(Summary(value=[Summary.Value(tag=name, image=image)]), step)
