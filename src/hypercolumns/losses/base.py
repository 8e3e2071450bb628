"""What every loss does, and the weights that classes may have in it."""

from abc import ABC, abstractmethod
from typing import Literal

import torch
from torch import Tensor, nn

ClassWeights = Tensor | Literal["batch"] | None  # one of each class; or inverse to the classes' counts in the batch
MIN_COUNT = 1e-12  # that a mean is divided by


class Loss(nn.Module, ABC):
    """A loss of the pixels of a batch."""

    @property
    @abstractmethod
    def supports_ddp(self) -> bool:
        """Whether several processes may share a batch, and the mean of their gradients is that of the whole batch."""
        ...

    @abstractmethod
    def set_class_weights(self, class_weights: ClassWeights) -> bool:
        """Give the classes these weights; returns whether the loss has weights of classes at all."""
        ...

    @abstractmethod
    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        """The loss of logits (N, classes) against labels (N,), 255 void; 0 where all is void."""
        ...


def balanced_weights(counts: Tensor, power: float = 1.0) -> Tensor:
    """Weights (classes,) inverse to the counts (classes,), to that power, such that a pixel weighs 1 on average.

    0 for no pixels. With a power of 1 all classes count alike, with 0 all pixels do.
    """
    weights = torch.where(counts > 0, counts.clamp(min=1).float() ** -power, 0)
    return weights * (counts.sum() / (weights * counts).sum().clamp(min=MIN_COUNT))
