"""The base class of pixel classifiers, which holds their standardisation and their linear layers."""

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
        mean: (D,), the mean of each channel.
        std: (D,), the standard deviation of each channel.

    Returns:
        (..., D), the standardised hypercolumns.
    """
    wide = hypercolumns.to(torch.promote_types(hypercolumns.dtype, mean.dtype))
    # A large batch takes three times as long with a new tensor for each of the three operations.
    centred = wide - mean if wide is hypercolumns else wide.sub_(mean)
    return centred.div_(std + EPSILON)


class Classifier(nn.Module, ABC):
    """A pixel classifier: standardisation, then linear layers with ReLU and dropout between the layers.

    A subclass turns the output of the last layer into logits. The layers act on the last dimension, so the same weights
    classify samples (N, D) and images (B, H, W, D).

    A classifier has two parts. The first part is the standardisation and the first layer. `folded_first_layer` returns
    both as one linear layer, which `engine.classify` applies to the maps before upsampling. The second part is `head`.

    Args:
        channels: D, the length of a hypercolumn.
        outputs: the number of outputs of the last layer.
        hidden: the width of the hidden layer, or a list of the widths of all hidden layers; [] makes the classifier
            linear.
        dropout: the dropout probability after each hidden layer, in [0, 1].

    Attributes:
        kind: the name of the type of classifier in model files: `mlp` or `grid`, for example.
        needs_coordinates: whether `head` uses its argument `coordinates`. If false, you may pass coordinates that are
            empty tensors.
        first: the first linear layer.
        rest: all layers after the first, with the ReLU and dropout between them.
        mean: (D,), subtracted from hypercolumns; 0 until `set_statistics` is called.
        std: (D,), the divisor of hypercolumns after the subtraction; 1 until `set_statistics` is called.
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
        """Compute the logits (..., classes) of pixels from the output of the first layer.

        Args:
            hidden: (..., K), the output of the first layer. The method may overwrite this tensor.
            coordinates: the normalised coordinates of the pixels. The shapes of y and x must broadcast to the shape of
                `hidden` without its last dimension.
        """
        ...

    @abstractmethod
    def settings(self) -> dict[str, object]:
        """Return the constructor's arguments by name, in a form that JSON can represent.

        The arguments `channels` and `classes` are left out.
        """
        ...

    @property
    def output_layer(self) -> str:
        """The name of the last linear layer, such as `rest.linear1`; without hidden layers, it is `first`."""
        layers: list[str] = [name for name, layer in self.named_modules() if isinstance(layer, Pointwise)]
        return layers[-1]

    def head_parameters(self) -> list[nn.Parameter]:
        """Return the parameters that `head` uses: all parameters except those of the first layer."""
        return [parameter for name, parameter in self.named_parameters() if not name.startswith("first.")]

    def set_statistics(self, mean: Tensor, std: Tensor) -> None:
        """Set the means and the standard deviations for the standardisation.

        A channel whose standard deviation is at most 1e-5 is nearly constant. Its standard deviation is replaced by the
        average over the other channels, or by 1 if all channels are nearly constant. SqueezeNet 1.0 has such a channel,
        because one of its filters is zero. If training changes this filter, a division by 1e-5 would amplify each
        change 100,000 times and ruin the model.

        Args:
            mean: (D,), the mean of each channel of the hypercolumns.
            std: (D,), the standard deviation of each channel of the hypercolumns.
        """
        varying = std > EPSILON
        average = std[varying].mean() if varying.any() else torch.ones_like(std[0])
        self.get_buffer("mean").copy_(mean)
        self.get_buffer("std").copy_(torch.where(varying, std, average))

    def forward(self, hypercolumns: Tensor, coordinates: PixelCoordinates) -> Tensor:
        """Compute logits (..., classes) from hypercolumns (..., D) and the normalised coordinates of their pixels."""
        standard = standardize(hypercolumns, self.get_buffer("mean"), self.get_buffer("std"))
        return self.head(self.first(standard), coordinates)

    def folded_first_layer(self) -> tuple[Tensor, Tensor]:
        """Combine the standardisation and the first layer into one linear layer.

        Returns:
            The weight (K, D) and the bias (K,) of this layer. Its input is hypercolumns that are not standardised.
            Gradients flow from both tensors to the parameters of the first layer.
        """
        weight = self.first.weight / (self.get_buffer("std") + EPSILON)
        return weight, F.linear(-self.get_buffer("mean"), weight, self.first.bias)
