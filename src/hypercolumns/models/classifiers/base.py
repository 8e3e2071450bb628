"""The base class of pixel classifiers: standardisation, and linear layers with ReLU between them."""

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
    """Standardise hypercolumns channel by channel: `(hypercolumns - mean) / (std + 1e-5)`.

    Args:
        hypercolumns: (..., D).
        mean: (D,).
        std: (D,), standard deviations.

    Returns:
        (..., D).
    """
    return (hypercolumns - mean) / (std + EPSILON)


class Classifier(nn.Module, ABC):
    """Standardisation, then linear layers with ReLU and dropout between them. Subclasses turn their output into logits.

    It works on the last dimension: the same weights classify samples (N, D) and images (B, H, W, D). The classifier
    comes in two parts, so that `engine.classify` can apply the first layer in a cheaper way: `folded_first_layer` is
    the first layer with the standardisation folded in, and `head` is the rest.

    Args:
        channels: D, the length of a hypercolumn.
        outputs: how many outputs the last layer has.
        hidden: the width of the hidden layer, or a list of widths; [] makes the classifier linear.
        dropout: the dropout probability after each hidden layer, in [0, 1).

    Attributes:
        kind: the name of the class in model files.
        needs_coordinates: whether `head` uses the coordinates; if not, they may be empty tensors.
        first: the first layer.
        rest: the other layers.
        mean: (D,), subtracted from hypercolumns; 0 until `set_statistics` is called.
        std: (D,), divides hypercolumns; 1 until `set_statistics` is called.
    """

    kind: ClassVar[str]
    needs_coordinates: ClassVar[bool] = False

    def __init__(self, channels: int, outputs: int, hidden: int | Sequence[int], dropout: float) -> None:
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
        """Compute logits (..., classes) from the first layer's output (..., K) and the pixels' coordinates.

        `hidden` may be overwritten.
        """
        ...

    @abstractmethod
    def settings(self) -> dict[str, object]:
        """Return the constructor's arguments other than channels and classes, as JSON-compatible values."""
        ...

    def head_parameters(self) -> list[nn.Parameter]:
        """Return the parameters that `head` uses: all except those of the first layer."""
        return [parameter for name, parameter in self.named_parameters() if not name.startswith("first.")]

    def set_statistics(self, mean: Tensor, std: Tensor) -> None:
        """Set the statistics of the standardisation.

        A channel with a standard deviation of at most 1e-5 gets the average standard deviation of the other channels.
        SqueezeNet 1.0 has such a channel, with a filter of zeros. Once that filter is trained, a division by 1e-5 would
        make each update 100,000 times as large and ruin the model.

        Args:
            mean: (D,), of the hypercolumns.
            std: (D,), standard deviations of the hypercolumns.
        """
        varying = std > EPSILON
        average = std[varying].mean() if varying.any() else torch.ones_like(std[0])
        self.get_buffer("mean").copy_(mean)
        self.get_buffer("std").copy_(torch.where(varying, std, average))

    def forward(self, hypercolumns: Tensor, coordinates: PixelCoordinates) -> Tensor:
        """Compute logits (..., classes) from hypercolumns (..., D) and the pixels' coordinates."""
        standard = standardize(hypercolumns, self.get_buffer("mean"), self.get_buffer("std"))
        return self.head(self.first(standard), coordinates)

    def folded_first_layer(self) -> tuple[Tensor, Tensor]:
        """Return the first layer for raw hypercolumns: weight (K, D) and bias (K,), with gradients."""
        weight = self.first.weight / (self.get_buffer("std") + EPSILON)
        return weight, F.linear(-self.get_buffer("mean"), weight, self.first.bias)
