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
        class_weights: (classes,) float, the weight of each class; "batch" for weights that are inversely proportional
            to the number of pixels of each class in `labels`; None for no weights.
        label_smoothing: e in [0, 1] (Szegedy et al., arXiv:1512.00567). The target probability is e / classes for each
            class, plus 1 - e for the class of the label.

    Returns:
        The mean of the pixels' cross-entropies with these weights, a scalar; 0 if all pixels are void.
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
    """Return the sum of the weighted cross-entropies of the labelled pixels, and the sum of these pixels' weights.

    If the weights depend on the pixel counts of the classes in the batch, they are computed from `add(counts)`. In
    data-parallel training, `add` sums this rank's counts over all ranks. The default leaves the counts unchanged.
    """
    valid = labels != IGNORE_INDEX
    if isinstance(class_weights, str):
        class_weights = balanced_weights(add(torch.bincount(labels[valid], minlength=logits.shape[1])))
    losses = nn.functional.cross_entropy(
        logits, labels, class_weights, ignore_index=IGNORE_INDEX, reduction="sum", label_smoothing=label_smoothing
    )
    return losses, valid.sum() if class_weights is None else class_weights[labels[valid]].sum()


def _sum_over_ranks(tensor: Tensor) -> Tensor:
    """Sum a tensor over all ranks in place, and return the tensor."""
    distributed.all_reduce(tensor)
    return tensor


class CrossEntropy(Loss):
    """The mean cross-entropy of the pixels that are not void, with optional class weights; see `cross_entropy`.

    In data-parallel training, the value of the loss is the mean over the pixels of all ranks. The mean of the ranks'
    gradients is the gradient of this value.

    Args:
        label_smoothing: in [0, 1]; 0 turns label smoothing off.
    """

    supports_ddp = True

    def __init__(self, label_smoothing: float = 0.0) -> None:
        super().__init__()
        check_fraction("label_smoothing", label_smoothing)
        self.label_smoothing = label_smoothing
        self.set_class_weights(None)

    def set_class_weights(self, class_weights: ClassWeights) -> bool:
        """Set the class weights, and return True; see `Loss.set_class_weights`."""
        self.by_batch = isinstance(class_weights, str)
        self.weights: Tensor | None
        self.register_buffer("weights", None if isinstance(class_weights, str) else class_weights, persistent=False)
        return True

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Compute the weighted mean cross-entropy of the pixels that are not void; see `Loss.forward`."""
        weights: ClassWeights = "batch" if self.by_batch else self.weights
        if not distributed.is_initialized():
            return cross_entropy(logits, labels, weights, self.label_smoothing)
        losses, label_weight = _sums(logits, labels, weights, self.label_smoothing, _sum_over_ranks)
        all_losses, total = _sum_over_ranks(torch.stack([losses.detach().double(), label_weight.double()]))
        loss: Tensor = losses * (distributed.get_world_size() / total.clamp(min=MIN_COUNT)).float()
        # The result has the gradient of `loss`, but the value over the pixels of all ranks, which is logged.
        value: Tensor = (all_losses / total.clamp(min=MIN_COUNT)).float()
        return loss + (value - loss.detach())
