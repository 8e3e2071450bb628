"""Segmentation figures from one confusion matrix over a whole split.

Not `torchmetrics.segmentation.MeanIoU`, which averages over images: mIoU here is what Pascal VOC means by it.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from hypercolumns.labels import IGNORE_INDEX


def confusion(labels: Tensor, mask: Tensor, classes: int) -> Tensor:
    """Count the pixels of one image by true and predicted class; pixels without a true class (255) do not count.

    Args:
        labels: predicted class indices, of any shape and integer type.
        mask: true class indices of the same shape.
        classes: how many there are.

    Returns:
        The confusion matrix (classes, classes) int64, truth by row, where `labels` are.
    """
    truth, predicted = mask.flatten().long(), labels.flatten().long()
    valid = truth != IGNORE_INDEX
    pairs = truth[valid] * classes + predicted[valid]
    return torch.bincount(pairs, minlength=classes**2).reshape(classes, classes)


@dataclass(frozen=True)
class SegmentationMetrics:
    """What a confusion matrix says; shares in [0, 1], None where there is nothing to divide by.

    Attributes:
        miou: mean of the IoU of the classes that occur in truth or prediction.
        pixel_accuracy: share of pixels that are right.
        mean_accuracy: mean of the share that is right of each class, of those that occur in truth.
        frequency_weighted_iou: IoU weighted by how many pixels each class has in truth.
        per_class_iou: IoU of each class: intersection over union of truth and prediction.
        per_class_accuracy: share of each class's pixels that are right.
        pixels: how many were scored.
        baseline_miou: the mIoU of predicting the most frequent class everywhere.
        baseline_class: the index of that class.
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
        """For `metrics.json`: the figures, those of classes by name."""
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
    """The figures of confusion matrices (..., classes, classes), truth by row: see `SegmentationMetrics`.

    Those of everything are (...,), `per_class_iou` and `per_class_accuracy` are (..., classes), all float64; NaN where
    there is nothing to divide by.
    """
    return metrics_from_class_sums(*class_sums(confusion.double()))


def class_sums(confusion: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Of confusion matrices (..., C, C): the pixels (..., C) of each class that are right, true and predicted."""
    return confusion.diagonal(dim1=-2, dim2=-1), confusion.sum(-1), confusion.sum(-2)


def metrics_from_class_sums(right: Tensor, truth: Tensor, predicted: Tensor) -> dict[str, Tensor]:
    """The figures of `metrics_from_confusion`, from each class's pixels (..., classes): right, true and predicted."""
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
    """The figures of a confusion matrix (classes, classes), integer, truth by row."""
    classes = math.isqrt(confusion.numel())
    confusion = confusion.cpu().reshape(classes, classes)  # torchmetrics squeezes that of a single class
    truth = confusion.sum(1)
    total, most_frequent = truth.sum(), int(truth.argmax())
    found = {
        name: tuple(map(float_or_none, values)) if values.ndim else float_or_none(values)
        for name, values in metrics_from_confusion(confusion).items()
    }
    return SegmentationMetrics(
        **found,  # type: ignore[arg-type]
        pixels=int(total),
        baseline_miou=float_or_none(truth[most_frequent] / total / (truth > 0).sum()),
        baseline_class=most_frequent if total else None,
    )


def float_or_none(value: Tensor) -> float | None:
    """A figure as a float, or None for NaN."""
    return None if torch.isnan(value) else float(value)
