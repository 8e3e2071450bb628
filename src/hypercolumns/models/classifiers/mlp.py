"""The multi-layer perceptron, a classifier with the same weights at every pixel."""

from collections.abc import Sequence

from torch import Tensor

from hypercolumns.coordinates import PixelCoordinates
from hypercolumns.models.classifiers.base import Classifier


class MLPClassifier(Classifier):
    """A multi-layer perceptron with ReLU and dropout. Without hidden layers, it is a logistic regression.

    >>> from hypercolumns import MLPClassifier
    >>> classifier = MLPClassifier(channels=112, classes=3, hidden=[64, 32])
    >>> weight, bias = classifier.folded_first_layer()
    >>> weight.shape, bias.shape
    (torch.Size([64, 112]), torch.Size([64]))
    >>> classifier.settings()
    {'hidden': [64, 32], 'dropout': 0.0}

    Args:
        channels: D, the length of a hypercolumn.
        classes: the number of classes.
        hidden: the width of the hidden layer, or a list of the widths of all hidden layers; [] for no hidden layer.
        dropout: the dropout probability after each hidden layer, in [0, 1].
    """

    kind = "mlp"

    def __init__(self, channels: int, classes: int, hidden: int | Sequence[int] = 512, dropout: float = 0.0) -> None:
        super().__init__(channels, classes, hidden, dropout)

    def head(self, hidden: Tensor, coordinates: PixelCoordinates) -> Tensor:
        """Apply the layers after the first. The coordinates are not used; see `Classifier.head`."""
        logits: Tensor = self.rest(hidden)
        return logits

    def settings(self) -> dict[str, object]:
        """Return `hidden` and `dropout`."""
        return {"hidden": self.hidden, "dropout": self.dropout}
