"""Metrics that tasks update at each step and torchmetrics reduces over all ranks."""

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.classification import MulticlassConfusionMatrix

from hypercolumns.labels import IGNORE_INDEX


def confusion_metric(classes: int) -> MulticlassConfusionMatrix:
    """Return a metric that accumulates a confusion matrix, int64, with true classes as rows; void is ignored.

    Its `update(labels, mask)` takes predicted and true class indices of any shape.
    """
    return MulticlassConfusionMatrix(num_classes=classes, ignore_index=IGNORE_INDEX, validate_args=False)


class WeightedMean(Metric):
    """Weighted mean over all updates on all ranks; NaN if any value is NaN.

    torchmetrics' MeanMetric either checks for NaN at every step, which makes the GPU wait, or loses the weights.
    Lightning's `log` with sync_dist rounds the mean of the ranks' batch sizes.
    """

    total: Tensor
    weight: Tensor

    def __init__(self) -> None:
        super().__init__()
        for name in ("total", "weight"):
            self.add_state(name, torch.zeros(()), dist_reduce_fx="sum")

    def update(self, value: Tensor, weight: float) -> None:
        """Add a value, such as the mean over `weight` samples."""
        self.total += value.detach() * weight
        self.weight += weight

    def compute(self) -> Tensor:
        """Return the weighted mean, a scalar."""
        return self.total / self.weight
