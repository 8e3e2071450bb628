"""What every classifier does, and what is the same in all: standardisation, and layers with ReLU between them."""

import itertools
from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Sequence
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hypercolumns.coordinates import PixelCoordinates
from hypercolumns.errors import check_fraction, check_int
from hypercolumns.models.classifiers.pointwise import Pointwise, ReLU

EPSILON = 1e-5


def standardize(hypercolumns: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """Hypercolumns (..., D) less their mean (D,), divided by their standard deviation (D,) + 1e-5."""
    return (hypercolumns - mean) / (std + EPSILON)


class Classifier(nn.Module, ABC):
    """Standardisation, linear layers with ReLU and dropout between them, and what a subclass makes of their output.

    Works on the last dimension, so the same weights classify samples (N, D) and images (B, H, W, D). Its first layer
    can be applied by whoever knows a cheaper way (`engine.classify`): `folded_first_layer()` gives it, with the
    standardisation in it, and `head` is what follows it.

    Attributes:
        kind: its name in model files.
        needs_coordinates: whether `head` looks at them; others may be given empty ones.
        first: the first layer.
        rest: the others.
    """

    kind: ClassVar[str]
    needs_coordinates: ClassVar[bool] = False

    def __init__(self, channels: int, outputs: int, hidden: int | Sequence[int], dropout: float) -> None:
        """Build the layers, with standardisation by mean 0 and std 1.

        Args:
            channels: D, the length of a hypercolumn.
            outputs: of the last layer.
            hidden: the width of the hidden layer, or of each; none ([]) makes the classifier linear.
            dropout: the share of each hidden layer that is dropped in training, in [0, 1).
        """
        super().__init__()
        self.hidden = list(hidden) if isinstance(hidden, Sequence) and not isinstance(hidden, str) else [hidden]
        for width in self.hidden:
            check_int("hidden", width, minimum=1)
        check_fraction("dropout", dropout)
        self.dropout = dropout
        widths = [*self.hidden, outputs]
        self.first = Pointwise(channels, widths[0])
        layers: OrderedDict[str, nn.Module] = OrderedDict()
        for number, (width, following) in enumerate(itertools.pairwise(widths), start=1):
            layers[f"relu{number}"] = ReLU()
            if dropout:
                layers[f"dropout{number}"] = nn.Dropout(dropout)
            layers[f"linear{number}"] = Pointwise(width, following)
        self.rest = nn.Sequential(layers)
        self.register_buffer("mean", torch.zeros(channels))
        self.register_buffer("std", torch.ones(channels))

    @abstractmethod
    def head(self, hidden: Tensor, coordinates: PixelCoordinates) -> Tensor:
        """Logits (..., classes) of pixels at these coordinates, given the first layer's output (..., K).

        That may be overwritten.
        """
        ...

    @abstractmethod
    def settings(self) -> dict[str, object]:
        """The arguments, besides channels and classes, that build this classifier again."""
        ...

    def head_parameters(self) -> list[nn.Parameter]:
        """The parameters that `head` uses: all but those of the first layer."""
        return [parameter for name, parameter in self.named_parameters() if not name.startswith("first.")]

    def set_statistics(self, mean: Tensor, std: Tensor) -> None:
        """Set the mean and the standard deviation, (D,), that hypercolumns have; they are divided by std + 1e-5.

        A channel that did not vary is taken to vary as the others do on average. SqueezeNet 1.0 has one, with a filter
        of zeros, and once the filter is trained a division by 1e-5 would make what it learns in a step 100,000 times
        as large, and ruin the model.
        """
        varying = std > EPSILON
        usual = std[varying].mean() if varying.any() else torch.ones_like(std[0])
        self.get_buffer("mean").copy_(mean)
        self.get_buffer("std").copy_(torch.where(varying, std, usual))

    def forward(self, hypercolumns: Tensor, coordinates: PixelCoordinates) -> Tensor:
        """Hypercolumns (..., D) of pixels at these coordinates (...) to logits (..., classes)."""
        standard = standardize(hypercolumns, self.get_buffer("mean"), self.get_buffer("std"))
        return self.head(self.first(standard), coordinates)

    def folded_first_layer(self) -> tuple[Tensor, Tensor]:
        """The first layer on raw hypercolumns: weight (K, D) and bias (K,), with gradients."""
        weight = self.first.weight / (self.get_buffer("std") + EPSILON)
        return weight, F.linear(-self.get_buffer("mean"), weight, self.first.bias)
