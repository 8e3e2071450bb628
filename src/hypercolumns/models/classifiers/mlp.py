"""A multi-layer perceptron: the same at every place of an image."""

from collections.abc import Sequence

from torch import Tensor

from hypercolumns.coordinates import PixelCoordinates
from hypercolumns.models.classifiers.base import Classifier


class MLPClassifier(Classifier):
    """Linear layers with ReLU and dropout between them; without hidden layers, logistic regression.

    >>> MLPClassifier(channels=112, classes=3, hidden=[64, 32]).settings()
    {'hidden': [64, 32], 'dropout': 0.0}
    """

    kind = "mlp"

    def __init__(self, channels: int, classes: int, hidden: int | Sequence[int] = 512, dropout: float = 0.0) -> None:
        """See `Classifier`; `classes` is the number of classes."""
        super().__init__(channels, classes, hidden, dropout)

    def head(self, hidden: Tensor, coordinates: PixelCoordinates) -> Tensor:
        """See `Classifier`."""
        logits: Tensor = self.rest(hidden)
        return logits

    def settings(self) -> dict[str, object]:
        """See `Classifier`."""
        return {"hidden": self.hidden, "dropout": self.dropout}
