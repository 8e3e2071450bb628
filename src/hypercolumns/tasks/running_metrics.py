"""Metrics over many steps. A task updates them at each step, and torchmetrics sums them over all ranks."""

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.classification import MulticlassConfusionMatrix

from hypercolumns.labels import IGNORE_INDEX


def confusion_metric(classes: int) -> MulticlassConfusionMatrix:
    """Build a metric that accumulates a confusion matrix.

    `update(labels, mask)` takes the predicted and the true class indices, two tensors of the same shape, and ignores
    void pixels. `compute()` returns (classes, classes) int64, with a row for each true class.
    """
    return MulticlassConfusionMatrix(num_classes=classes, ignore_index=IGNORE_INDEX, validate_args=False)


class WeightedMean(Metric):
    """Weighted mean of the values of all updates on all ranks; NaN if any value is NaN.

    Two existing means are unsuitable. torchmetrics' MeanMetric checks for NaN at every step, which makes the GPU wait;
    without that check, it ignores the weights. Lightning's `log(sync_dist=True)` weights a step by the mean of the
    ranks' batch sizes, rounded.
    """

    total: Tensor
    weight: Tensor

    def __init__(self) -> None:
        super().__init__()
        for name in ("total", "weight"):
            self.add_state(name, torch.zeros(()), dist_reduce_fx="sum")

    def update(self, value: Tensor, weight: float) -> None:
        """Add a scalar value, for example the mean over `weight` samples."""
        self.total += value.detach() * weight
        self.weight += weight

    def compute(self) -> Tensor:
        """Return the weighted mean, a scalar."""
        return self.total / self.weight
