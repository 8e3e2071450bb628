"""Location-specific classifiers: a grid of last layers over the image (Hariharan et al., CVPR 2015, section 3)."""

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor

from hypercolumns.coordinates import PixelCoordinates
from hypercolumns.errors import check_int
from hypercolumns.models.classifiers.base import Classifier
from hypercolumns.models.classifiers.pointwise import Pointwise, pointwise

NEIGHBOURS = 4  # number of last layers that contribute to the logits of a pixel


class GridClassifier(Classifier):
    """A grid of `size` x `size` last layers over the image, with shared hidden layers.

    The grid covers the whole image with `size` x `size` cells. At the centre of each cell, there is one last layer. The
    logits of a pixel are interpolated bilinearly between the outputs of the four last layers whose centres enclose the
    pixel. Along each axis, a pixel beyond the outermost centre is moved to this centre for the interpolation. In the
    paper, the grid covers the box of a detected object instead of the whole image.

    >>> import torch
    >>> from hypercolumns import GridClassifier
    >>> from hypercolumns.coordinates import PixelCoordinates
    >>> classifier = GridClassifier(channels=112, classes=3, size=5, hidden=64)
    >>> where = PixelCoordinates(y=torch.tensor([0.1, 0.9]), x=torch.tensor([0.5, 0.5]))
    >>> classifier(torch.rand(2, 112), where).shape
    torch.Size([2, 3])

    Args:
        channels: D, the length of a hypercolumn.
        classes: the number of classes.
        size: the number of last layers along each side of the grid; 1 makes the classifier an MLP.
        hidden: the width of the hidden layer, or a list of the widths of all hidden layers; [] for no hidden layer.
        dropout: the dropout probability after each hidden layer, in [0, 1].
    """

    kind = "grid"
    needs_coordinates = True

    def __init__(
        self, channels: int, classes: int, size: int = 3, hidden: int | Sequence[int] = 512, dropout: float = 0.0
    ) -> None:
        check_int("size", size, minimum=1)
        self.size, self.classes = size, classes
        super().__init__(channels, size * size * classes, hidden, dropout)

    def head(self, hidden: Tensor, coordinates: PixelCoordinates) -> Tensor:
        """Compute logits by interpolation between the outputs of the last layers; see `Classifier.head`."""
        # y and x are positions in cells of the grid; 0 is the centre of the grid's first cell.
        y, x = ((position * self.size - 0.5).clamp(0, self.size - 1).to(hidden.device) for position in coordinates)
        last = self.rest[-1] if len(self.rest) else None
        hidden = self.rest[:-1](hidden)
        every = range(self.size)
        by_neighbours = hidden.device.type == "cpu" and hidden.numel() and not torch.compiler.is_exporting()
        if self.size**2 <= NEIGHBOURS or not by_neighbours:
            return self._logits(hidden, last, y, x, every, every)
        # On a CPU, it is faster to apply only four neighbouring last layers at a time, to all pixels between their
        # centres.
        shape = hidden.shape[:-1]
        tops, lefts = (position.floor().clamp(max=self.size - 2).expand(shape) for position in (y, x))
        y, x = y.expand(shape), x.expand(shape)
        logits: Tensor | None = None
        for top, left in itertools.product(*(edges.unique().int().tolist() for edges in (tops, lefts))):
            inside = (tops == top) & (lefts == left)
            rows, columns = range(top, top + 2), range(left, left + 2)
            part = self._logits(hidden[inside], last, y[inside], x[inside], rows, columns)
            logits = part.new_empty(*shape, self.classes) if logits is None else logits
            logits[inside] = part
        assert logits is not None, "there are pixels"
        return logits

    def settings(self) -> dict[str, object]:
        """Return `size`, `hidden` and `dropout`."""
        return {"size": self.size, "hidden": self.hidden, "dropout": self.dropout}

    def _logits(self, hidden: Tensor, last: object, y: Tensor, x: Tensor, rows: range, columns: range) -> Tensor:
        """Interpolate the logits of pixels between the outputs of the last layers in some rows and columns of the grid.

        Args:
            hidden: (..., K), the input of the last layers. In a classifier without hidden layers, `hidden` is already
                the output of all last layers.
            last: the module that computes all last layers; None if the classifier has no hidden layers.
            y: (...), the pixels' positions along y in cells of the grid; 0 is the centre of the grid's first row.
            x: (...), the pixels' positions along x in cells of the grid; 0 is the centre of the grid's first column.
            rows: adjacent rows of the grid. They include all rows with a last layer that contributes to a pixel.
            columns: adjacent columns of the grid. They include all columns with a last layer that contributes to a
                pixel.

        Returns:
            (..., classes), the logits of the pixels.
        """
        every = range(self.size)
        chosen: slice | list[int] = slice(None)  # takes all last layers without a constant in an exported graph
        if rows != every or columns != every:
            chosen = [row * self.size + column for row in rows for column in columns]
        if isinstance(last, Pointwise):
            parts = (each.unflatten(0, (-1, self.classes))[chosen].flatten(0, 1) for each in (last.weight, last.bias))
            logits = pointwise(hidden, *parts).unflatten(-1, (-1, self.classes))
        else:  # without hidden layers, `hidden` is the output of all last layers
            logits = hidden.unflatten(-1, (-1, self.classes))[..., chosen, :]
        down, across = (
            (1 - (position[..., None] - torch.arange(centres.start, centres.stop).to(position)).abs()).clamp(min=0)
            for position, centres in ((y, rows), (x, columns))
        )
        weights = (down[..., :, None] * across[..., None, :]).flatten(-2).to(logits)
        interpolated: Tensor = (weights[..., None] * logits).sum(-2)
        return interpolated
