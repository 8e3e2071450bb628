"""Location-specific classifiers: a grid of last layers over the image (Hariharan et al., CVPR 2015, section 3)."""

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor

from hypercolumns.coordinates import PixelCoordinates
from hypercolumns.errors import check_int
from hypercolumns.models.classifiers.base import Classifier
from hypercolumns.models.classifiers.pointwise import Pointwise, pointwise

NEIGHBOURS = 4  # last layers that a pixel's logits come from


class GridClassifier(Classifier):
    """K x K last layers, spread over the image, above hidden layers that they share.

    Each is centred in its cell of a K x K grid on the whole image. The logits of a pixel are those of the four around
    it, interpolated bilinearly; beyond the outermost centres the nearest ones' values continue. The paper lays the grid
    over the box of a detected object; here it lies over the image.

    >>> GridClassifier(channels=112, classes=3, size=5, hidden=64).settings()
    {'size': 5, 'hidden': [64], 'dropout': 0.0}
    """

    kind = "grid"
    needs_coordinates = True

    def __init__(
        self, channels: int, classes: int, size: int = 3, hidden: int | Sequence[int] = 512, dropout: float = 0.0
    ) -> None:
        """K is `size`, of which 1 makes it an MLP; all else as for `Classifier`."""
        check_int("size", size, minimum=1)
        self.size, self.classes = size, classes
        super().__init__(channels, size * size * classes, hidden, dropout)

    def head(self, hidden: Tensor, coordinates: PixelCoordinates) -> Tensor:
        """See `Classifier`."""
        # In units of the grid, 0 the centre of the first cell.
        y, x = ((place * self.size - 0.5).clamp(0, self.size - 1).to(hidden.device) for place in coordinates)
        last = self.rest[-1] if len(self.rest) else None
        hidden = self.rest[:-1](hidden)
        every = range(self.size)
        few = hidden.device.type == "cpu" and hidden.numel() and not torch.compiler.is_exporting()
        if self.size**2 <= NEIGHBOURS or not few:
            return self._logits(hidden, last, y, x, every, every)
        # On a CPU it is faster to ask only those that count, for all pixels between the same four together.
        shape = hidden.shape[:-1]
        tops, lefts = (place.floor().clamp(max=self.size - 2).expand(shape) for place in (y, x))
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
        """See `Classifier`."""
        return {"size": self.size, "hidden": self.hidden, "dropout": self.dropout}

    def _logits(self, hidden: Tensor, last: object, y: Tensor, x: Tensor, rows: range, columns: range) -> Tensor:
        """The logits (..., classes) of pixels for which only the last layers in these rows and columns count."""
        every = range(self.size)
        chosen: slice | list[int] = slice(None)  # of all of them; a list would put a constant into an export's graph
        if rows != every or columns != every:
            chosen = [row * self.size + column for row in rows for column in columns]
        if isinstance(last, Pointwise):
            parts = (one.unflatten(0, (-1, self.classes))[chosen].flatten(0, 1) for one in (last.weight, last.bias))
            logits = pointwise(hidden, *parts).unflatten(-1, (-1, self.classes))
        else:  # there are no hidden layers: it is those logits already
            logits = hidden.unflatten(-1, (-1, self.classes))[..., chosen, :]
        down, across = (
            (1 - (place[..., None] - torch.arange(centres.start, centres.stop).to(place)).abs()).clamp(min=0)
            for place, centres in ((y, rows), (x, columns))
        )
        weights = (down[..., :, None] * across[..., None, :]).flatten(-2).to(logits)
        interpolated: Tensor = (weights[..., None] * logits).sum(-2)
        return interpolated
