"""Per-pixel predictions from class probabilities: label, confidence and entropy."""

import math
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from hypercolumns.models.dense_prediction import VisitPixels
from hypercolumns.models.slices import slices_within

MAX_PIXELS = 1 << 16  # pixels for which the certainty is computed at a time
Detail = Literal["labels", "certainty", "probabilities"]  # each value gives more outputs than the value before


class PixelPrediction(NamedTuple):
    """The predicted class of every pixel, and measures of how certain the prediction is.

    Attributes:
        labels: (B, H, W) uint8, the index of the most probable class.
        confidence: (B, H, W) float in [0, 1], the probability of the most probable class.
        entropy: (B, H, W) float in [0, 1], the entropy of the class probabilities divided by its maximum, log(classes).
        probabilities: (B, classes, H, W) float, the probabilities of all classes; None if they were not requested.
    """

    labels: Tensor
    confidence: Tensor
    entropy: Tensor
    probabilities: Tensor | None


def certainty(probabilities: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Find the most probable class, the probability of this class, and the normalised entropy of the probabilities.

    Args:
        probabilities: (..., classes) float, the class probabilities, which sum to 1.

    Returns:
        Three tensors (..., 1): the index of the most probable class (int64), the probability of this class, and the
        entropy of all probabilities divided by its maximum, log(classes). With a single class, the entropy is 0.
    """
    entropy = torch.special.entr(probabilities).sum(-1, keepdim=True) / math.log(max(probabilities.shape[-1], 2))
    confidence, labels = probabilities.max(-1, keepdim=True)
    return labels, confidence, entropy


class CollectedPrediction:
    """The prediction for all pixels of images, collected from the probabilities of one part after the other.

    Args:
        images: (B, 3, H, W).
        classes: the number of classes, if the prediction is to contain the probabilities of all classes; None: it is
            not.
        store: called with the rows, the columns and the probabilities (B, h, w, classes) float16 of each part; None: no
            call.

    Attributes:
        prediction: the prediction. The labels are uint8. The confidence, the entropy and the probabilities are float16.
    """

    def __init__(self, images: Tensor, classes: int | None, store: VisitPixels | None) -> None:
        count, size = len(images), images.shape[-2:]
        labels = images.new_empty(count, *size, dtype=torch.uint8)
        confidence, entropy = (images.new_empty(count, *size, dtype=torch.float16) for _ in range(2))
        every = None if classes is None else images.new_empty(count, classes, *size, dtype=torch.float16)
        self.prediction = PixelPrediction(labels, confidence, entropy, every)
        self._store = store

    def add(self, rows: slice, columns: slice, probabilities: Tensor) -> None:
        """Add the prediction for one part of the images.

        Args:
            rows: the rows of the part's pixels.
            columns: the columns of the part's pixels.
            probabilities: (B, h, w, classes) float, the class probabilities of the pixels.
        """
        for band in slices_within(rows, max(MAX_PIXELS // (columns.stop - columns.start), 1)):
            self._add(band, columns, probabilities[:, band.start - rows.start : band.stop - rows.start])

    def _add(self, rows: slice, columns: slice, probabilities: Tensor) -> None:
        *whole, every = self.prediction
        for values, part in zip(whole, certainty(probabilities), strict=True):
            values[:, rows, columns] = part[..., 0]
        if every is not None:
            every[:, :, rows, columns] = probabilities.movedim(-1, 1)
        if self._store is not None:
            self._store(rows, columns, probabilities.half())
