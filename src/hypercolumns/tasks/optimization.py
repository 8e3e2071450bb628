"""What the tasks share: the optimiser with its schedule, and the weights of classes in the loss."""

import math
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any, Literal

import pytorch_lightning as pl
import torch
from torch import Tensor, distributed, nn
from torch.optim import Optimizer

from hypercolumns.errors import HypercolumnsError, reason
from hypercolumns.images import VOID
from hypercolumns.tasks.schedules import Schedule

MakeOptimizer = Callable[[Iterable[nn.Parameter]], Optimizer]
LEAST = 1e-12  # that a mean is divided by
ClassWeights = Tensor | Literal["batch"] | None


def optimizer_with_schedule(
    parameters: Iterable[nn.Parameter], make_optimizer: MakeOptimizer, schedule: Schedule, steps: int
) -> dict[str, Any]:
    """What `LightningModule.configure_optimizers` returns: the schedule moves at every step."""
    try:
        optimizer = make_optimizer([parameter for parameter in parameters if parameter.requires_grad])
    except (TypeError, ValueError) as error:
        settings = make_optimizer.keywords if isinstance(make_optimizer, partial) else {}
        said = "".join(f"{name}={value}, " for name, value in settings.items())
        raise HypercolumnsError(f"optimizer: its settings are not right ({said}{reason(error)})") from error
    moving = {"scheduler": schedule(optimizer, steps), "interval": "step", "name": "train/learning_rate"}
    return {"optimizer": optimizer, "lr_scheduler": moving}


def own_step(batch_idx: int) -> int:
    """A number of its own for this process's part of a step, for its chance; with one process, that of the step."""
    if not distributed.is_initialized():
        return batch_idx
    return batch_idx * distributed.get_world_size() + distributed.get_rank()


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
    losses, total = _sums(logits, labels, class_weights)
    return losses / total.clamp(min=LEAST)


def _sums(
    logits: Tensor, labels: Tensor, class_weights: ClassWeights, add: Callable[[Tensor], Tensor] = lambda own: own
) -> tuple[Tensor, Tensor]:
    """The sum of the losses, and that of the weights of the labels; `add` adds what other processes have."""
    valid = labels != VOID
    if isinstance(class_weights, str):
        class_weights = balanced_weights(add(torch.bincount(labels[valid], minlength=logits.shape[1])))
    losses = nn.functional.cross_entropy(logits, labels, class_weights, ignore_index=VOID, reduction="sum")
    return losses, valid.sum() if class_weights is None else class_weights[labels[valid]].sum()


def _over_processes(own: Tensor) -> Tensor:
    """The sum of a tensor over all processes."""
    distributed.all_reduce(own)
    return own


class CrossEntropy(nn.Module):
    """`cross_entropy` with its class weights, on the device of the module that it is part of.

    With several processes it is that of the labels of all of them; the mean over the processes of its gradients, which
    is what data-parallel training takes, is the gradient of that.
    """

    def __init__(self, class_weights: ClassWeights = None) -> None:
        """class_weights: see `cross_entropy`."""
        super().__init__()
        self.by_batch = isinstance(class_weights, str)
        self.weights: Tensor | None
        self.register_buffer("weights", None if isinstance(class_weights, str) else class_weights, persistent=False)

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        """The loss of logits (N, classes) against labels (N,)."""
        weights: ClassWeights = "batch" if self.by_batch else self.weights
        if not distributed.is_initialized():
            return cross_entropy(logits, labels, weights)
        losses, own = _sums(logits, labels, weights, _over_processes)
        everywhere, total = _over_processes(torch.stack([losses.detach().double(), own.double()]))
        loss: Tensor = losses * (distributed.get_world_size() / total.clamp(min=LEAST)).float()
        value: Tensor = (everywhere / total.clamp(min=LEAST)).float()  # for the log
        return loss + (value - loss.detach())
