"""Cross-entropy with optional class weights and label smoothing."""

from collections.abc import Callable

import torch
from torch import Tensor, distributed, nn

from hypercolumns.errors import check_fraction
from hypercolumns.labels import IGNORE_INDEX
from hypercolumns.losses.base import MIN_COUNT, ClassWeights, Loss, balanced_weights


def cross_entropy(logits: Tensor, labels: Tensor, class_weights: ClassWeights, label_smoothing: float = 0.0) -> Tensor:
    """Compute the mean cross-entropy of the pixels that are not void, with optional class weights.

    Args:
        logits: (N, classes) float.
        labels: (N,) int64 class indices, 255 for void.
        class_weights: (classes,) float; "batch" for weights inverse to the classes' counts among `labels`; None for no
            weights.
        label_smoothing: the share of a label that is distributed over all classes, in [0, 1] (Szegedy et al.,
            arXiv:1512.00567).

    Returns:
        The weighted mean, a scalar; 0 if all labels are void.
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
    """Sum the weighted losses of the labelled pixels, and the weights of these pixels; returns both sums.

    `add` replaces this rank's class counts by their sum over the ranks. The default keeps this rank's counts.
    """
    valid = labels != IGNORE_INDEX
    if isinstance(class_weights, str):
        class_weights = balanced_weights(add(torch.bincount(labels[valid], minlength=logits.shape[1])))
    losses = nn.functional.cross_entropy(
        logits, labels, class_weights, ignore_index=IGNORE_INDEX, reduction="sum", label_smoothing=label_smoothing
    )
    return losses, valid.sum() if class_weights is None else class_weights[labels[valid]].sum()


def _sum_over_ranks(tensor: Tensor) -> Tensor:
    """Sum a tensor over all ranks, in place."""
    distributed.all_reduce(tensor)
    return tensor


class CrossEntropy(Loss):
    """Mean cross-entropy of the pixels that are not void, with optional class weights, see `cross_entropy`.

    In data-parallel training the value is the mean over the pixels of all ranks. The mean of the ranks' gradients is
    the gradient of this value.

    Args:
        label_smoothing: the share of a label that is distributed over all classes, in [0, 1].
    """

    supports_ddp = True

    def __init__(self, label_smoothing: float = 0.0) -> None:
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
        value: Tensor = (all_losses / total.clamp(min=MIN_COUNT)).float()  # the loss over all ranks, for the log
        return loss + (value - loss.detach())
