"""Segmentation metrics from confusion matrices.

With the confusion matrix of a whole split, the mIoU is that of Pascal VOC: the mean of the IoU of each class over the
pixels of all images. `torchmetrics.segmentation.MeanIoU` computes another number: the mean over images of their IoU.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from hypercolumns.labels import IGNORE_INDEX


def confusion(labels: Tensor, mask: Tensor, classes: int) -> Tensor:
    """Count pixels by true and predicted class. Pixels that are void (255) in the mask are not counted.

    Args:
        labels: predicted class indices, of any shape and integer type.
        mask: true class indices, of the same shape.
        classes: the number of classes.

    Returns:
        The confusion matrix (classes, classes) int64 with a row for each true class, on the device of `labels`.
    """
    truth, predicted = mask.flatten().long(), labels.flatten().long()
    valid = truth != IGNORE_INDEX
    pairs = truth[valid] * classes + predicted[valid]
    return torch.bincount(pairs, minlength=classes**2).reshape(classes, classes)


@dataclass(frozen=True)
class SegmentationMetrics:
    """The metrics of a confusion matrix. Fractions are in [0, 1], or None if their denominator is 0.

    Attributes:
        miou: mean IoU of the classes that occur in truth or prediction.
        pixel_accuracy: fraction of the pixels that are correct.
        mean_accuracy: mean of `per_class_accuracy` over the classes that occur in truth.
        frequency_weighted_iou: mean IoU, each class weighted by its number of true pixels.
        per_class_iou: IoU of each class: intersection over union of its true and its predicted pixels.
        per_class_accuracy: fraction of each class's true pixels that are correct.
        pixels: the number of pixels, without void.
        baseline_miou: the mIoU of predicting the most frequent true class everywhere.
        baseline_class: the index of the most frequent true class; None if there are no pixels.
    """

    miou: float | None
    pixel_accuracy: float | None
    mean_accuracy: float | None
    frequency_weighted_iou: float | None
    per_class_iou: tuple[float | None, ...]
    per_class_accuracy: tuple[float | None, ...]
    pixels: int
    baseline_miou: float | None
    baseline_class: int | None

    def as_dict(self, classes: Sequence[str]) -> dict[str, object]:
        """Return the metrics as in `metrics.json`; each per-class metric is a dictionary by class name."""
        return {
            "miou": self.miou,
            "pixel_accuracy": self.pixel_accuracy,
            "mean_accuracy": self.mean_accuracy,
            "frequency_weighted_iou": self.frequency_weighted_iou,
            "per_class_iou": dict(zip(classes, self.per_class_iou, strict=True)),
            "per_class_accuracy": dict(zip(classes, self.per_class_accuracy, strict=True)),
            "pixels": self.pixels,
            "baseline": {
                "class": None if self.baseline_class is None else classes[self.baseline_class],
                "miou": self.baseline_miou,
            },
        }


def metrics_from_confusion(confusion: Tensor) -> dict[str, Tensor]:
    """Compute the metrics of confusion matrices, see `SegmentationMetrics`.

    Args:
        confusion: (..., classes, classes), a row for each true class.

    Returns:
        The metrics by name, float64: `per_class_iou` and `per_class_accuracy` (..., classes), the others (...,). NaN
        where the denominator is 0.
    """
    return metrics_from_class_sums(*class_sums(confusion.double()))


def class_sums(confusion: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the numbers of correct, true and predicted pixels of each class, (..., C), from matrices (..., C, C)."""
    return confusion.diagonal(dim1=-2, dim2=-1), confusion.sum(-1), confusion.sum(-2)


def metrics_from_class_sums(right: Tensor, truth: Tensor, predicted: Tensor) -> dict[str, Tensor]:
    """Compute the metrics of `metrics_from_confusion` from the pixel counts of each class.

    Args:
        right: (..., classes) float, the number of correct pixels of each class.
        truth: (..., classes) float, the number of true pixels of each class.
        predicted: (..., classes) float, the number of predicted pixels of each class.

    Returns:
        See `metrics_from_confusion`; the dtype is that of the arguments.
    """
    iou, accuracy = right / (truth + predicted - right), right / truth
    total = truth.sum(-1)
    return {
        "miou": iou.nanmean(-1),
        "pixel_accuracy": right.sum(-1) / total,
        "mean_accuracy": accuracy.nanmean(-1),
        "frequency_weighted_iou": (truth * iou).nansum(-1) / total,
        "per_class_iou": iou,
        "per_class_accuracy": accuracy,
    }


def segmentation_metrics(confusion: Tensor) -> SegmentationMetrics:
    """Compute the metrics of one integer confusion matrix (classes, classes) with a row for each true class."""
    classes = math.isqrt(confusion.numel())
    confusion = confusion.cpu().reshape(classes, classes)  # torchmetrics returns a scalar for a single class
    truth = confusion.sum(1)
    total, most_frequent = truth.sum(), int(truth.argmax())
    metrics = {
        name: tuple(map(float_or_none, values)) if values.ndim else float_or_none(values)
        for name, values in metrics_from_confusion(confusion).items()
    }
    return SegmentationMetrics(
        **metrics,  # type: ignore[arg-type]
        pixels=int(total),
        baseline_miou=float_or_none(truth[most_frequent] / total / (truth > 0).sum()),
        baseline_class=most_frequent if total else None,
    )


def float_or_none(value: Tensor) -> float | None:
    """Convert a scalar tensor to a float, and NaN to None."""
    return None if torch.isnan(value) else float(value)
