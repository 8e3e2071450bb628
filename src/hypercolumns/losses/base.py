"""The base class of the losses, and class weights."""

from abc import ABC, abstractmethod
from typing import Literal

import torch
from torch import Tensor, nn

# (classes,) float; "batch" for weights inverse to the classes' counts in the batch; None for no weights
ClassWeights = Tensor | Literal["batch"] | None
MIN_COUNT = 1e-12  # smallest divisor of a mean, so that an empty mean is 0


class Loss(nn.Module, ABC):
    """A loss of the classified pixels of a batch."""

    @property
    @abstractmethod
    def supports_ddp(self) -> bool:
        """Whether the loss works with data-parallel training.

        It does if the mean of the ranks' gradients is the gradient over the whole batch.
        """
        ...

    @abstractmethod
    def set_class_weights(self, class_weights: ClassWeights) -> bool:
        """Set the class weights; returns whether the loss supports class weights."""
        ...

    @abstractmethod
    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Compute the loss.

        Args:
            logits: (N, classes) float.
            labels: (N,) int64 class indices, 255 for void.

        Returns:
            The loss, a scalar; 0 if all labels are void.
        """
        ...


def balanced_weights(counts: Tensor, power: float = 1.0) -> Tensor:
    """Compute class weights inversely proportional to a power of the classes' counts.

    The weights are scaled so that the mean weight of a pixel is 1. With `power` = 1 all classes have the same total
    weight, with `power` = 0 all pixels have the same weight.

    Args:
        counts: (classes,) integers, the number of pixels of each class.
        power: the exponent of the counts.

    Returns:
        (classes,) float32; 0 for classes without pixels.
    """
    weights = torch.where(counts > 0, counts.clamp(min=1).float() ** -power, 0)
    return weights * (counts.sum() / (weights * counts).sum().clamp(min=MIN_COUNT))
