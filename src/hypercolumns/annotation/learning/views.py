"""The prediction at the pixels of a screen: any rows and columns of an image."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from hypercolumns.coordinates import PixelCoordinates
from hypercolumns.labels import IGNORE_INDEX
from hypercolumns.models.alignment import FeatureMap
from hypercolumns.models.classifiers import Classifier
from hypercolumns.models.engine import AdaptiveSettings, adaptive_decisions

# A square of the screen is split if the margin of a corner is below 0.05, or if its corners have different classes.
SCREEN = AdaptiveSettings(stride=8, margin=0.05)
NOWHERE = PixelCoordinates(torch.empty(0), torch.empty(0))


class View(NamedTuple):
    """The prediction at the pixels of a grid of rows and columns.

    Attributes:
        labels: (h, w) uint8, the predicted classes; 255 before the first label.
        margins: (h, w) float32 in [0, 1], the difference of the two highest probabilities; 0 before the first label.
    """

    labels: Tensor
    margins: Tensor


def empty_view(rows: Tensor, columns: Tensor) -> View:
    """Return the view of a model that knows nothing."""
    size = len(rows), len(columns)
    return View(torch.full(size, IGNORE_INDEX, dtype=torch.uint8), torch.zeros(size))


def decide_margin(logits: Tensor) -> Tensor:
    """Return the class and the margin of each pixel: the difference of its two highest probabilities.

    Args:
        logits: (..., classes).

    Returns:
        (..., 2) float32, the class and the margin; with a single class, the margin is 1.
    """
    if logits.shape[-1] == 1:
        return torch.tensor([0.0, 1.0]).expand(*logits.shape[:-1], 2)
    values, classes = logits.float().topk(2)
    margins = (values - logits.float().logsumexp(-1, keepdim=True)).exp()
    return torch.stack([classes[..., 0].float(), margins[..., 0] - margins[..., 1]], dim=-1)


def view_grid(
    maps: Sequence[FeatureMap], rows: Tensor, columns: Tensor, classifier: Classifier, settings: AdaptiveSettings
) -> View:
    """Classify the pixels of a grid by adaptive subdivision.

    Args:
        maps: the maps (1, C_l, h_l, w_l) of an image, one for each tap, also in half precision.
        rows: (h,), rising: the y of the grid's rows, in pixels.
        columns: (w,), rising: the x of the grid's columns, in pixels.
        classifier: classifies the hypercolumns; it needs no coordinates.
        settings: the settings of the subdivision; its margin is that of probabilities.

    Returns:
        The prediction at the grid's pixels.
    """

    def decided(hidden: Tensor, y: Tensor, x: Tensor) -> Tensor:
        return decide_margin(classifier.head(hidden, NOWHERE))

    return View(*adaptive_decisions(maps, rows, columns, *classifier.folded_first_layer(), decided, settings))
