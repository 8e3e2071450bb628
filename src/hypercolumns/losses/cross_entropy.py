"""Cross-entropy, its classes weighted and its labels smoothed if that is asked for."""

from collections.abc import Callable

import torch
from torch import Tensor, distributed, nn

from hypercolumns.errors import check_fraction
from hypercolumns.labels import IGNORE_INDEX
from hypercolumns.losses.base import MIN_COUNT, ClassWeights, Loss, balanced_weights


def cross_entropy(logits: Tensor, labels: Tensor, class_weights: ClassWeights, label_smoothing: float = 0.0) -> Tensor:
    """Mean cross-entropy of logits (N, classes) against labels (N,), void left out; 0 where all is void.

    `class_weights`: a weight for each class, or "batch" for weights inverse to the classes' counts among these labels.
    `label_smoothing`: the share of a label that is spread over all classes (Szegedy et al., arXiv:1512.00567).
    """
    losses, total = _sums(logits, labels, class_weights, label_smoothing)
    return losses / total.clamp(min=MIN_COUNT)


def _sums(
    logits: Tensor,
    labels: Tensor,
    class_weights: ClassWeights,
    label_smoothing: float,
    add: Callable[[Tensor], Tensor] = lambda counts: counts,
) -> tuple[Tensor, Tensor]:
    """The sum of the losses, and that of the weights of the labels; `add` sums class counts over the ranks."""
    valid = labels != IGNORE_INDEX
    if isinstance(class_weights, str):
        class_weights = balanced_weights(add(torch.bincount(labels[valid], minlength=logits.shape[1])))
    losses = nn.functional.cross_entropy(
        logits, labels, class_weights, ignore_index=IGNORE_INDEX, reduction="sum", label_smoothing=label_smoothing
    )
    return losses, valid.sum() if class_weights is None else class_weights[labels[valid]].sum()


def _sum_over_ranks(tensor: Tensor) -> Tensor:
    """The sum of a tensor over all ranks, in place."""
    distributed.all_reduce(tensor)
    return tensor


class CrossEntropy(Loss):
    """`cross_entropy` with its class weights, on the device of the module that it is part of.

    With several processes it is that of the labels of all of them; the mean over the processes of its gradients, which
    is what data-parallel training takes, is the gradient of that.
    """

    supports_ddp = True

    def __init__(self, label_smoothing: float = 0.0) -> None:
        """label_smoothing: see `cross_entropy`; from 0 to 1."""
        super().__init__()
        check_fraction("label_smoothing", label_smoothing)
        self.label_smoothing = label_smoothing
        self.set_class_weights(None)

    def set_class_weights(self, class_weights: ClassWeights) -> bool:
        """See `Loss`."""
        self.by_batch = isinstance(class_weights, str)
        self.weights: Tensor | None
        self.register_buffer("weights", None if isinstance(class_weights, str) else class_weights, persistent=False)
        return True

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        """See `Loss`."""
        weights: ClassWeights = "batch" if self.by_batch else self.weights
        if not distributed.is_initialized():
            return cross_entropy(logits, labels, weights, self.label_smoothing)
        losses, label_weight = _sums(logits, labels, weights, self.label_smoothing, _sum_over_ranks)
        all_losses, total = _sum_over_ranks(torch.stack([losses.detach().double(), label_weight.double()]))
        loss: Tensor = losses * (distributed.get_world_size() / total.clamp(min=MIN_COUNT)).float()
        value: Tensor = (all_losses / total.clamp(min=MIN_COUNT)).float()  # for the log
        return loss + (value - loss.detach())
