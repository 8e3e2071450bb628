"""The base class of the losses, and class weights."""

from abc import ABC, abstractmethod
from typing import Literal

import torch
from torch import Tensor, nn

# (classes,) float, or "batch" for weights inverse to the classes' counts in each batch, or None for no weights
ClassWeights = Tensor | Literal["batch"] | None
MIN_COUNT = 1e-12  # smallest divisor of a mean, so that the mean over no pixels is 0


class Loss(nn.Module, ABC):
    """A loss of the logits of a batch of pixels against the pixels' labels."""

    @property
    @abstractmethod
    def supports_ddp(self) -> bool:
        """Whether the loss works with data-parallel training.

        It works if the mean of the ranks' gradients is the gradient of the loss over all ranks' pixels.
        """
        ...

    @abstractmethod
    def set_class_weights(self, class_weights: ClassWeights) -> bool:
        """Set the class weights if the loss supports class weights; returns whether it does."""
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
    """Compute class weights that are inversely proportional to a power of the classes' pixel counts.

    The weights are scaled so that the mean weight of a pixel is 1. With `power` = 1, all classes that have pixels get
    the same total weight. With `power` = 0, all pixels get the same weight.

    Args:
        counts: (classes,) integers, the number of pixels of each class.
        power: the exponent of the counts.

    Returns:
        (classes,) float32; 0 for classes without pixels.
    """
    weights = torch.where(counts > 0, counts.clamp(min=1).float() ** -power, 0)
    return weights * (counts.sum() / (weights * counts).sum().clamp(min=MIN_COUNT))
