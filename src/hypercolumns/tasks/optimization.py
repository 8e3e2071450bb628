"""What the tasks share: the optimiser with its schedule, and the weights of classes in the loss."""

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal

import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from hypercolumns.errors import HypercolumnsError
from hypercolumns.images import VOID
from hypercolumns.tasks.schedules import Schedule

MakeOptimizer = Callable[[Iterable[nn.Parameter]], Optimizer]
ClassWeights = Tensor | Literal["batch"] | None


def optimizer_with_schedule(
    parameters: Iterable[nn.Parameter], make_optimizer: MakeOptimizer, schedule: Schedule, steps: int
) -> dict[str, Any]:
    """What `LightningModule.configure_optimizers` returns: the schedule moves at every step."""
    try:
        optimizer = make_optimizer([parameter for parameter in parameters if parameter.requires_grad])
    except (TypeError, ValueError) as error:
        raise HypercolumnsError(f"optimizer: its settings are not right ({error})") from error
    moving = {"scheduler": schedule(optimizer, steps), "interval": "step", "name": "train/learning_rate"}
    return {"optimizer": optimizer, "lr_scheduler": moving}


def log_classes(task: pl.LightningModule, group: str, classes: Sequence[str], figures: Sequence[float | None]) -> None:
    """Log a figure of each class, as group/class; NaN where it has none, or Lightning would keep that of before."""
    for name, figure in zip(classes, figures, strict=True):
        task.log(f"{group}/{name}", math.nan if figure is None else figure)


def balanced_weights(counts: Tensor) -> Tensor:
    """Weights (classes,) inverse to the counts (classes,), such that a pixel weighs 1 on average; 0 for no pixels."""
    present = counts > 0
    weights = counts.sum() / (present.sum() * counts.clamp(min=1))
    return torch.where(present, weights, 0).float()


def cross_entropy(logits: Tensor, labels: Tensor, class_weights: ClassWeights) -> Tensor:
    """Mean cross-entropy of logits (N, classes) against labels (N,), void left out; 0 where all is void.

    `class_weights`: a weight for each class, or "batch" for weights inverse to the classes' counts among these labels.
    """
    if isinstance(class_weights, str):
        counts = torch.bincount(labels[labels != VOID], minlength=logits.shape[1])
        class_weights = balanced_weights(counts)
    losses = nn.functional.cross_entropy(logits, labels, class_weights, ignore_index=VOID, reduction="sum")
    valid = labels != VOID
    total = valid.sum() if class_weights is None else class_weights[labels[valid]].sum()
    return losses / total.clamp(min=1e-12)


class CrossEntropy(nn.Module):
    """`cross_entropy` with its class weights, on the device of the module that it is part of."""

    def __init__(self, class_weights: ClassWeights = None) -> None:
        """class_weights: see `cross_entropy`."""
        super().__init__()
        self.by_batch = isinstance(class_weights, str)
        self.weights: Tensor | None
        self.register_buffer("weights", None if isinstance(class_weights, str) else class_weights, persistent=False)

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        """The loss of logits (N, classes) against labels (N,)."""
        return cross_entropy(logits, labels, "batch" if self.by_batch else self.weights)
