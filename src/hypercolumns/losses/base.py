"""The base class of the losses, and the computation of class weights."""

from abc import ABC, abstractmethod
from typing import Literal

import torch
from torch import Tensor, nn

# A tensor (classes,) float holds the weight of each class. "batch" stands for weights that are inversely proportional
# to the classes' pixel counts in each batch. None stands for no weights.
ClassWeights = Tensor | Literal["batch"] | None
MIN_COUNT = 1e-12  # minimum divisor of a mean, which makes the mean over no pixels 0


class Loss(nn.Module, ABC):
    """The base class of losses, which compare the logits of a batch of pixels with the pixels' labels."""

    @property
    @abstractmethod
    def supports_ddp(self) -> bool:
        """Whether the loss works with data-parallel training (DDP), which divides each batch among ranks.

        The loss works if the mean of the ranks' gradients is the gradient of the loss over the whole batch.
        """
        ...

    @abstractmethod
    def set_class_weights(self, class_weights: ClassWeights) -> bool:
        """Set the class weights, if the loss supports class weights.

        Returns:
            Whether the loss supports class weights.
        """
        ...

    @abstractmethod
    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Compute the loss of a batch of pixels.

        Args:
            logits: (N, classes) float.
            labels: (N,) int64 class indices, 255 for void.

        Returns:
            The loss over the pixels that are not void, a scalar; 0 if all pixels are void.
        """
        ...


def balanced_weights(counts: Tensor, power: float = 1.0) -> Tensor:
    """Compute class weights that are inversely proportional to a power of the classes' pixel counts.

    The mean weight over all pixels is 1. With `power` = 1, the sum of the weights of a class's pixels is the same for
    all classes that have pixels. With `power` = 0, all pixels have the same weight.

    Args:
        counts: (classes,) integers, the number of pixels of each class.
        power: the exponent p; the weight of a class is proportional to 1 / count^p.

    Returns:
        (classes,) float32, the weights; 0 for classes without pixels.
    """
    weights = torch.where(counts > 0, counts.clamp(min=1).float() ** -power, 0)
    return weights * (counts.sum() / (weights * counts).sum().clamp(min=MIN_COUNT))
