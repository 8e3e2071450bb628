"""Segmentation figures from one confusion matrix over a whole split.

Not `torchmetrics.segmentation.MeanIoU`, which averages over images: mIoU here is what Pascal VOC means by it.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torchmetrics.classification import MulticlassConfusionMatrix

from hypercolumns.images import VOID


def confusion_metric(classes: int) -> MulticlassConfusionMatrix:
    """Counts pixels (int64) by true class (rows) and predicted class (columns), over all updates; void is ignored.

    `update(labels, mask)` takes class indices of any shape.
    """
    return MulticlassConfusionMatrix(num_classes=classes, ignore_index=VOID, validate_args=False)


@dataclass(frozen=True)
class Scores:
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


def scores(confusion: Tensor) -> Scores:
    """The figures of a confusion matrix (classes, classes), integer, truth by row."""
    classes = math.isqrt(confusion.numel())
    confusion = confusion.cpu().double().reshape(classes, classes)  # torchmetrics squeezes that of a single class
    right, truth, predicted = confusion.diag(), confusion.sum(1), confusion.sum(0)
    union = truth + predicted - right
    iou, accuracy = right / union, right / truth  # NaN for a class that does not occur
    total = truth.sum()
    most = int(truth.argmax())
    return Scores(
        miou=_number(iou.nanmean()),
        pixel_accuracy=_number(right.sum() / total),
        mean_accuracy=_number(accuracy.nanmean()),
        frequency_weighted_iou=_number((truth * iou).nansum() / total),
        per_class_iou=tuple(_number(value) for value in iou),
        per_class_accuracy=tuple(_number(value) for value in accuracy),
        pixels=int(total),
        baseline_miou=_number(truth[most] / total / (truth > 0).sum()),
        baseline_class=most if total else None,
    )


def _number(value: Tensor) -> float | None:
    return None if torch.isnan(value) else float(value)
