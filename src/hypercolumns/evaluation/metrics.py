"""Segmentation metrics from confusion matrices.

The mIoU of a confusion matrix over a whole split is that of Pascal VOC: the IoU of each class is computed over the
pixels of all images, and the mean over the classes is taken. `torchmetrics.segmentation.MeanIoU` computes the IoU of
each image instead, and takes the mean over the images.

A class that is predicted but does not occur in the truth has the IoU 0, and Pascal VOC's mean includes it: a single
wrong pixel may cost a large part of the mIoU. The mIoU of the present classes leaves such classes out. The field calls
the classes in the truth present, as in the Lovász loss (Berman et al., CVPR 2018).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from hypercolumns.labels import IGNORE_INDEX

COUNTED = 1 << 21  # pixels that are counted at a time, in eight bytes each
BOUNDARY_METRICS = ("miou", "miou_present", "pixel_accuracy", "per_class_iou")  # also computed near label boundaries


def confusion(labels: Tensor, mask: Tensor, classes: int) -> Tensor:
    """Count the pixels by true and predicted class. Pixels that are void (255) in the mask are not counted.

    Args:
        labels: the predicted class indices, of any shape and integer type.
        mask: the true class indices, of the same shape, on the same device; 255 for void.
        classes: the number of classes.

    Returns:
        The confusion matrix (classes, classes) int64, with a row for each true class and a column for each predicted
        class, on the device of `labels`.
    """
    counts = torch.zeros(classes**2, dtype=torch.int64, device=labels.device)
    for truth, predicted in zip(mask.flatten().split(COUNTED), labels.flatten().split(COUNTED), strict=True):
        valid = truth != IGNORE_INDEX
        pairs = truth[valid].long() * classes + predicted[valid].long()
        counts += torch.bincount(pairs, minlength=classes**2)
    return counts.reshape(classes, classes)


@dataclass(frozen=True)
class SegmentationMetrics:
    """The metrics of a confusion matrix.

    All metrics but `pixels` and `baseline_class` are in [0, 1]. A metric is None if its denominator is 0.

    Attributes:
        miou: the mean IoU of the classes that occur in the truth or in the prediction.
        miou_present: the mean IoU of the classes that occur in the truth.
        pixel_accuracy: the fraction of the pixels that are predicted correctly.
        mean_accuracy: the mean of `per_class_accuracy` over the classes that occur in the truth.
        frequency_weighted_iou: the mean IoU of the classes, each class weighted by its number of pixels in the truth.
        per_class_iou: the IoU of each class: the intersection, divided by the union, of two sets of pixels. One set has
            the class in the truth, and the other set is predicted as the class.
        per_class_accuracy: for each class, the fraction of its pixels in the truth that are predicted correctly.
        pixels: the number of pixels, without void pixels.
        baseline_miou: the mIoU of a prediction that assigns the most frequent class of the truth to every pixel.
        baseline_class: the index of the most frequent class of the truth; None if there are no pixels.
    """

    miou: float | None
    miou_present: float | None
    pixel_accuracy: float | None
    mean_accuracy: float | None
    frequency_weighted_iou: float | None
    per_class_iou: tuple[float | None, ...]
    per_class_accuracy: tuple[float | None, ...]
    pixels: int
    baseline_miou: float | None
    baseline_class: int | None

    def as_dict(self, classes: Sequence[str]) -> dict[str, object]:
        """Return the metrics by name, as in `metrics.json`. A per-class metric is a dictionary by class name."""
        return {
            "miou": self.miou,
            "miou_present": self.miou_present,
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
    """Compute the metrics of one or more confusion matrices.

    Args:
        confusion: (..., classes, classes), with a row for each true class and a column for each predicted class.

    Returns:
        The metrics by their names in `SegmentationMetrics`, without `pixels`, `baseline_miou` and `baseline_class`. All
        are float64: `per_class_iou` and `per_class_accuracy` are (..., classes), the other metrics are (...,). A value
        is NaN if its denominator is 0.
    """
    return metrics_from_class_sums(*class_sums(confusion.double()))


def class_sums(confusion: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the pixel counts of each class from confusion matrices (..., C, C) with a row for each true class.

    Returns:
        Three tensors (..., C), for each class: the number of its pixels that are predicted correctly, the number of
        pixels that have the class in the truth, and the number of pixels that are predicted as the class.
    """
    return confusion.diagonal(dim1=-2, dim2=-1), confusion.sum(-1), confusion.sum(-2)


def metrics_from_class_sums(right: Tensor, truth: Tensor, predicted: Tensor) -> dict[str, Tensor]:
    """Compute segmentation metrics from the pixel counts of each class.

    Args:
        right: (..., classes) float, the number of pixels of each class that are predicted correctly.
        truth: (..., classes) float, the number of pixels that have each class in the truth.
        predicted: (..., classes) float, the number of pixels that are predicted as each class.

    Returns:
        The metrics that `metrics_from_confusion` returns, in the dtype of the arguments.
    """
    iou, accuracy = right / (truth + predicted - right), right / truth
    total = truth.sum(-1)
    return {
        "miou": iou.nanmean(-1),
        "miou_present": iou.masked_fill(truth == 0, math.nan).nanmean(-1),
        "pixel_accuracy": right.sum(-1) / total,
        "mean_accuracy": accuracy.nanmean(-1),
        "frequency_weighted_iou": (truth * iou).nansum(-1) / total,
        "per_class_iou": iou,
        "per_class_accuracy": accuracy,
    }


def segmentation_metrics(confusion: Tensor) -> SegmentationMetrics:
    """Compute all metrics of one confusion matrix, (classes, classes) integers, with a row for each true class."""
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
