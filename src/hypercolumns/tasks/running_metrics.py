"""Metrics over many steps. A task updates them at each step, and torchmetrics combines the results of all ranks."""

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.classification import MulticlassConfusionMatrix

from hypercolumns.labels import IGNORE_INDEX


def confusion_metric(classes: int) -> MulticlassConfusionMatrix:
    """Build a metric that accumulates a confusion matrix over many updates.

    `update(labels, mask)` takes the predicted class indices and the true class indices, two tensors of the same shape.
    It leaves out the pixels whose true label is void. `compute()` returns the matrix (classes, classes) int64, with a
    row for each true class and a column for each predicted class.
    """
    return MulticlassConfusionMatrix(num_classes=classes, ignore_index=IGNORE_INDEX, validate_args=False)


class WeightedMean(Metric):
    """The weighted mean of the values of all updates on all ranks; NaN if any value is NaN.

    Two existing ways to compute such a mean are unsuitable. torchmetrics' MeanMetric checks for NaN at every step, and
    the GPU must wait. Without this check, MeanMetric ignores the weights. Lightning's `log(sync_dist=True)` weights
    each step by the rounded mean of the ranks' batch sizes.
    """

    total: Tensor
    weight: Tensor

    def __init__(self) -> None:
        super().__init__()
        for name in ("total", "weight"):
            self.add_state(name, torch.zeros(()), dist_reduce_fx="sum")

    def update(self, value: Tensor, weight: float) -> None:
        """Include a scalar in the mean with a weight: for example, a batch's mean loss with its number of samples."""
        self.total += value.detach() * weight
        self.weight += weight

    def compute(self) -> Tensor:
        """Return the weighted mean of all values so far, a scalar."""
        return self.total / self.weight
