"""The prediction of all pixels of an image, some rows at a time."""

import numpy as np

from hypercolumns.annotation.learning.pixel_trainer import PixelTrainer
from hypercolumns.annotation.serving.screen import Lines
from hypercolumns.io.images import PixelShape

BAND = 1 << 20  # pixels that are predicted at a time


class WholePrediction:
    """The predicted labels of all pixels of an image, by one version of the model.

    Args:
        image: the number of the image.
        version: the version of the model.
        size: (height, width) of the image.

    Attributes:
        image: the number of the image.
        labels: (H, W) uint8; only the first rows are there until `complete`.
    """

    def __init__(self, image: int, version: int, size: PixelShape) -> None:
        self.image, self._version = image, version
        self.labels = np.empty(size, np.uint8)
        self._rows = 0

    def is_of(self, image: int, version: int) -> bool:
        """Whether this is the prediction of an image by a version of the model."""
        return (self.image, self._version) == (image, version)

    @property
    def complete(self) -> bool:
        """Whether all rows are there."""
        return self._rows == len(self.labels)

    def add_rows(self, trainer: PixelTrainer) -> None:
        """Predict some more rows."""
        height, width = self.labels.shape
        stop = min(self._rows + max(BAND // width, 1), height)
        rows, columns = Lines(self._rows, 1, stop - self._rows), Lines(0, 1, width)
        view = trainer.view(str(self.image), rows.as_tensor(), columns.as_tensor())
        self.labels[self._rows : stop] = view.labels.numpy()
        self._rows = stop
