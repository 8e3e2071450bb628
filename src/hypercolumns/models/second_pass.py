"""A second pass over the pixels: classify each again, from its logits and the class probabilities around it.

The hypercolumn of a pixel shows what the network sees there, which is little of a large object. The second pass sees
which classes the first pass found nearby and farther away. This is auto-context (Tu and Bai, IEEE TPAMI 2010, section
2.3): a classifier whose features are the results of an earlier one.

The first pass classifies one pixel of each cell of a coarse grid. The surroundings of a cell are the mean class
probabilities of windows of several sizes: one window around the cell, and one on each of its four sides. Between the
cells, they are interpolated bilinearly. So they are a map of one more tap, and the first layer of the second pass
projects it before it is interpolated, as it projects the maps of hypercolumns.
"""

from dataclasses import dataclass, replace
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hypercolumns.coordinates import ImageSize, PixelCoordinates, full_image_box, normalised_coordinates
from hypercolumns.errors import check_int
from hypercolumns.models.alignment import bilinear_neighbours
from hypercolumns.models.classifiers import Classifier, MLPClassifier
from hypercolumns.models.dense_prediction import PixelHead, bind_coordinates
from hypercolumns.models.engine import classify
from hypercolumns.models.extractor import HypercolumnExtractor
from hypercolumns.models.windows import ImageView, WholeImages

CELL = 8  # pixels between the centres of neighbouring cells, at most
WINDOWS = (3, 9, 27)  # sides of the windows, in cells
LOGIT_SCALE = 4.0  # divisor of logits, so that they are about as large as probabilities
PLACES = 5  # windows of each size: around the cell, above, below, to the left and to the right
FEATURES = 1 + PLACES * len(WINDOWS)  # features for each class: its logit, and its mean probabilities in the windows


class SecondPass(nn.Module):
    """Classify pixels again, from their logits and their surroundings.

    Args:
        classes: K, the number of classes.
        hidden: the number of hidden units.

    Attributes:
        classes: K.
        hidden: the number of hidden units.
        classifier: the classifier of the features (..., 16 K): the K logits of the first pass, then the surroundings.

    Raises:
        ArgumentError: if `hidden` is not a whole number from 1.
    """

    def __init__(self, classes: int, hidden: int = 128) -> None:
        super().__init__()
        check_int("hidden", hidden, minimum=1)
        self.classes, self.hidden = classes, hidden
        self.classifier = MLPClassifier(classes * FEATURES, classes, hidden)
        # Features are not standardised one by one. The means of a rare class hardly vary; divided by their small
        # deviation, they would count as much as those of other classes, and the training would learn them by heart.
        scale = torch.cat([torch.full((classes,), LOGIT_SCALE), torch.ones(classes * (FEATURES - 1))])
        self.classifier.get_buffer("std").copy_(scale)

    def settings(self) -> dict[str, object]:
        """Return the constructor's arguments by name, without `classes`."""
        return {"hidden": self.hidden}

    def forward(self, features: Tensor, coordinates: PixelCoordinates) -> Tensor:
        """Compute logits (..., K) from features (..., 16 K), see `features_at`, and the coordinates of their pixels."""
        logits: Tensor = self.classifier(features.to(self.classifier.first.weight), coordinates)
        return logits

    def projected(self, surroundings: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Apply the first layer to surroundings.

        Args:
            surroundings: (B, n, m, 15 K), see `surroundings_of`.

        Returns:
            The projected surroundings (B, n, m, hidden); the weight (hidden, K) of the logits; the bias (hidden,).
        """
        weight, bias = self.classifier.folded_first_layer()
        classes = weight.shape[1] - surroundings.shape[-1]
        return F.linear(surroundings.to(weight), weight[:, classes:]), weight[:, :classes], bias


@dataclass(frozen=True)
class BoundSecondPass:
    """A second pass with the surroundings of some images. It takes the place of the images' classifier.

    Attributes:
        first: the classifier of the first pass.
        second: the second pass.
        projected: the result of `SecondPass.projected` for the images.
    """

    first: Classifier
    second: SecondPass
    projected: tuple[Tensor, Tensor, Tensor]
    needs_coordinates: bool = True

    def folded_first_layer(self) -> tuple[Tensor, Tensor]:
        """Return the first layer of the first pass."""
        return self.first.folded_first_layer()

    def head_parameters(self) -> list[nn.Parameter]:
        """Return the parameters of both passes but those of the first layer."""
        return [*self.first.head_parameters(), *self.second.parameters()]

    def head(self, hidden: Tensor, coordinates: PixelCoordinates) -> Tensor:
        """Compute the logits of the second pass, see `Classifier.head`."""
        surroundings, weight, bias = self.projected
        logits = self.first.head(hidden, coordinates)
        hidden = F.linear(logits, weight, bias) + interpolate(surroundings, coordinates)
        return self.second.classifier.head(hidden.to(bias), coordinates)


def with_surroundings(
    view: ImageView, size: ImageSize, first: Classifier, second: SecondPass | None
) -> tuple[ImageView, PixelHead]:
    """Return what classifies the pixels of images: the classifier or, with a second pass, both of them.

    Args:
        view: the images.
        size: (height, width) of the images in pixels.
        first: the classifier of the first pass.
        second: the second pass, if there is one.

    Returns:
        The images, whose maps are computed once for both passes unless they are computed window by window; and what
        classifies their pixels.
    """
    if second is None:
        return view, first
    view = _computed_once(view)
    return view, BoundSecondPass(first, second, second.projected(surroundings_of(view, size, first)))


def features_at(extractor: HypercolumnExtractor, first: Classifier, images: Tensor, points: Tensor) -> Tensor:
    """Compute what the second pass classifies, without projecting it: the features of pixels.

    Args:
        extractor: computes the hypercolumns.
        first: the classifier of the first pass.
        images: (B, 3, H, W), uint8 or float in [0, 1], whole images.
        points: (B, N, 2) as (y, x), in pixels.

    Returns:
        (B, N, 16 K) float32: the logits of the first pass, then the surroundings.
    """
    size = images.shape[-2], images.shape[-1]
    view = _computed_once(extractor.view(images))
    where = normalised_coordinates(points[..., 0], points[..., 1], full_image_box(size))
    around = interpolate(surroundings_of(view, size, first), where)
    return torch.cat([first(extractor.at(images, points, view=view), where).float(), around], dim=-1)


def cell_pixels(length: int) -> Tensor:
    """Return the pixel at the centre of each cell along an axis of `length` pixels, (n,) int64."""
    count = (length + CELL - 1) // CELL
    return (torch.arange(count) * 2 + 1) * length // (2 * count)


def surroundings_of(view: ImageView, size: ImageSize, first: Classifier) -> Tensor:
    """Classify a pixel of each cell by the first pass, and compute the surroundings of the cells.

    Args:
        view: the images.
        size: (height, width) of the images in pixels.
        first: the classifier of the first pass.

    Returns:
        (B, n, m, 15 K), see `window_means`.
    """

    def likely(hidden: Tensor, where: PixelCoordinates) -> Tensor:
        return first.head(hidden, where).float().softmax(-1)

    rows, columns = (cell_pixels(length) for length in size)
    head = bind_coordinates(likely, full_image_box(size), first.needs_coordinates)
    first_layer = first.folded_first_layer()
    whole: Tensor | None = None
    for down, across, maps in view.windows():
        lines, strips = _inside(rows, down), _inside(columns, across)
        if lines.start == lines.stop or strips.start == strips.stop:
            continue
        part = classify(maps, rows[lines], columns[strips], *first_layer, head)
        if whole is None:
            whole = part.new_empty(len(part), len(rows), len(columns), part.shape[-1])
        whole[:, lines, strips] = part
        del maps  # frees the memory before the next window is computed
    assert whole is not None, "each cell has a pixel in a window"
    return window_means(whole.permute(0, 3, 1, 2)).permute(0, 2, 3, 1).contiguous()


def window_means(probabilities: Tensor) -> Tensor:
    """Average class probabilities over windows around each cell and beside it.

    Args:
        probabilities: (B, K, n, m), of the cells.

    Returns:
        (B, 15 K, n, m): for each size of `WINDOWS`, the means of the window around the cell, and of the windows above,
        below, to the left and to the right of it. A mean is over the cells inside the image. A window whose centre is
        outside of it is replaced by the one around the nearest cell.
    """
    means: list[Tensor] = []
    for side in WINDOWS:
        mean = F.avg_pool2d(probabilities, side, stride=1, padding=side // 2, count_include_pad=False)
        wide = F.pad(mean, (side, side, side, side), mode="replicate")
        tall, long = wide[..., side:-side], wide[:, :, side:-side]
        means += [mean, tall[:, :, : -2 * side], tall[:, :, 2 * side :], long[..., : -2 * side], long[..., 2 * side :]]
    return torch.cat(means, dim=1)


def interpolate(cells: Tensor, where: PixelCoordinates) -> Tensor:
    """Interpolate values of cells bilinearly at pixels. Beyond the outermost centres, they are constant.

    Args:
        cells: (B, n, m, C), evenly spread over the images.
        where: the normalised coordinates of the pixels. They broadcast to (N,) for one image, to (B, N), or to
            (B, h, w), where B may be 1.

    Returns:
        (N, C), (B, N, C) or (B, h, w, C).
    """
    cells = cells.to(torch.promote_types(cells.dtype, torch.float32))  # coordinates need more than half precision
    if where.y.ndim == 3 and where.y.shape[::2] == (1, 1) and where.x.shape[:2] == (1, 1):
        return _along(_along(cells, 1, where.y), 2, where.x)  # a rectangle: one axis after the other is faster
    y, x = torch.broadcast_tensors(where.y, where.x)
    points = torch.stack([x, y], dim=-1).to(cells) * 2 - 1
    missing = 4 - points.ndim  # dimensions that `grid_sample` expects, and the points don't have
    grid = points[(None,) * missing] if missing != 1 else points[:, None]
    grid = grid.expand(len(cells), *grid.shape[1:])
    values = F.grid_sample(cells.movedim(-1, 1), grid, padding_mode="border", align_corners=False).movedim(1, -1)
    return (values[0, 0], values[:, 0], values)[2 - missing]


def _along(cells: Tensor, axis: int, positions: Tensor) -> Tensor:
    """Interpolate linearly along an axis of the cells, at normalised positions."""
    count = cells.shape[axis]
    low, high, weight = bilinear_neighbours(positions.flatten().cpu() * count - 0.5, torch.arange(count).double())
    before, after = (cells.index_select(axis, at.to(cells.device)) for at in (low, high))
    return torch.lerp(before, after, weight.view(-1, *[1] * (cells.ndim - 1 - axis)).to(cells))


def _computed_once(view: ImageView) -> ImageView:
    """Return images whose maps, if they are computed at once, are computed for the first pass and kept."""
    return replace(view, compute=cache(view.compute)) if isinstance(view, WholeImages) else view


def _inside(pixels: Tensor, window: slice) -> slice:
    """Return which of the rising pixels lie in a window."""
    start, stop = torch.searchsorted(pixels, torch.tensor([window.start, window.stop])).tolist()
    return slice(start, stop)
