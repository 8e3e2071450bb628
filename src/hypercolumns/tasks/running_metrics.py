"""The metrics that the tasks update step by step, summed over all processes; the only ones that need torchmetrics."""

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.classification import MulticlassConfusionMatrix

from hypercolumns.labels import IGNORE_INDEX


def confusion_metric(classes: int) -> MulticlassConfusionMatrix:
    """Counts pixels (int64) by true class (rows) and predicted class (columns), over all updates; void is ignored.

    `update(labels, mask)` takes class indices of any shape.
    """
    return MulticlassConfusionMatrix(num_classes=classes, ignore_index=IGNORE_INDEX, validate_args=False)


class WeightedMean(Metric):
    """The mean of figures by their weights, over all updates in all processes; NaN if one of them is.

    torchmetrics' MeanMetric would look for NaN at every step, for which a GPU must wait, or forget the weights, and
    Lightning's `log` with sync_dist rounds the mean number of what processes have seen.
    """

    total: Tensor
    weight: Tensor

    def __init__(self) -> None:
        """Nothing has been seen."""
        super().__init__()
        for name in ("total", "weight"):
            self.add_state(name, torch.zeros(()), dist_reduce_fx="sum")

    def update(self, figure: Tensor, weight: float) -> None:
        """Count a figure, such as the mean over `weight` samples."""
        self.total += figure.detach() * weight
        self.weight += weight

    def compute(self) -> Tensor:
        """The mean."""
        return self.total / self.weight
