"""Class probabilities that are averaged over views of images, for one part of the images after the other."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from hypercolumns.coordinates import ImageSize, PixelCoordinates
from hypercolumns.models.classifiers import Classifier
from hypercolumns.models.dense_prediction import PixelHead, VisitPixels, visit_pixels
from hypercolumns.models.extractor import HypercolumnExtractor
from hypercolumns.models.second_pass import SecondPass, with_surroundings
from hypercolumns.models.slices import even_slices
from hypercolumns.models.tta import NO_TTA, TestTimeAugmentation
from hypercolumns.models.window_sizes import window_margins, window_sides
from hypercolumns.models.windows import Area, ImageView

# Class probabilities of all pixels and classes that are averaged over views at once, and those of a part of an image
# that has more of them.
MAX_AVERAGED, PART_VALUES = 1 << 25, 1 << 24


class _View(NamedTuple):
    """A view of images.

    Attributes:
        images: the images as the view shows them.
        classifier: classifies the pixels of the view.
        flipped: whether the view is mirrored.
    """

    images: ImageView
    classifier: PixelHead
    flipped: bool


@dataclass(frozen=True)
class ViewAverage:
    """Average class probabilities over the views of images.

    Attributes:
        extractor: computes the hypercolumns of each view.
        classifier: classifies the hypercolumns.
        classes: the number of classes.
        second_pass: classifies the pixels of each view again; None: one pass.
    """

    extractor: HypercolumnExtractor
    classifier: Classifier
    classes: int
    second_pass: SecondPass | None = None

    def parts(
        self, images: Tensor, tta: TestTimeAugmentation, in_parts: bool = True
    ) -> Iterator[tuple[slice, slice, Tensor]]:
        """Average the class probabilities over views, for one part of the images after the other.

        Images of few pixels, and images of a network that can't work in windows, are one part.

        Args:
            images: (B, 3, H, W).
            tta: the views of the images.
            in_parts: whether large images are divided; otherwise, all images are one part.

        Yields:
            The rows and the columns of the part, and its probabilities (B, h, w, classes) float32.
        """
        (height, width), values = images.shape[-2:], len(images) * self.classes
        margins = window_margins(self.extractor.backbone)
        in_parts = in_parts and margins is not None and height * width * values > MAX_AVERAGED
        views = self._views(images, tta, in_parts)
        sides = height, width
        if margins is not None and in_parts:  # a part is at most a window of the largest view
            largest = max((view.images.seen for view in views), key=lambda seen: seen.size)
            windows = window_sides(largest.size, margins, self.extractor.max_window_pixels)
            parts = window_sides((height, width), (0, 0), max(PART_VALUES // values, 1))
            tall, wide = (max(int(side / scale), 1) for side, scale in zip(windows, largest.scales, strict=True))
            sides = min(tall, parts[0]), min(wide, parts[1])
        for rows in even_slices(height, sides[0]):
            for columns in even_slices(width, sides[1]):
                yield rows, columns, self._average(views, (height, width), (rows, columns))

    def visit(self, images: Tensor, tta: TestTimeAugmentation, visit: VisitPixels) -> None:
        """Average the class probabilities over views, and hold those of a few pixels at a time if they can be divided.

        Args:
            images: (B, 3, H, W).
            tta: the views of the images.
            visit: called with the rows, the columns and the probabilities (B, h, w, classes) float32 of one part after
                the other.
        """
        if tta == NO_TTA:
            size = images.shape[-2], images.shape[-1]
            view, classifier = with_surroundings(self.extractor.view(images), size, self.classifier, self.second_pass)
            visit_pixels(view, size, classifier, partial(_probabilities, classifier), visit)
            return
        for rows, columns, scores in self.parts(images, tta):
            visit(rows, columns, scores)
            del scores  # frees the memory before the next part is computed

    def labels(self, images: Tensor, tta: TestTimeAugmentation) -> Tensor:
        """Return the classes (B, H, W) uint8 with the largest averaged probabilities."""
        labels = images.new_empty(len(images), *images.shape[-2:], dtype=torch.uint8)
        for rows, columns, scores in self.parts(images, tta):
            labels[:, rows, columns] = scores.argmax(-1).to(torch.uint8)
            del scores  # frees the memory before the next part is computed
        return labels

    def _views(self, images: Tensor, tta: TestTimeAugmentation, in_parts: bool) -> list[_View]:
        """Prepare the views of the images."""
        mirrored = images.flip(-1) if tta.flip else images
        size = images.shape[-2], images.shape[-1]
        views: list[_View] = []
        for seen, flipped in tta.of(self.extractor.resize or size):
            view = self.extractor.view(mirrored if flipped else images, None, seen, in_parts)
            views.append(_View(*with_surroundings(view, size, self.classifier, self.second_pass), flipped))
        return views

    def _average(self, views: Sequence[_View], size: ImageSize, area: Area) -> Tensor:
        """Average the class probabilities over views.

        Args:
            views: the result of `_views`.
            size: (height, width) of the images, in pixels.
            area: the rows and columns of pixels for which the probabilities are computed.

        Returns:
            (B, rows, columns, classes) float32.
        """
        (rows, columns), width = area, size[1]
        shape = rows.stop - rows.start, columns.stop - columns.start, self.classes
        total = torch.zeros(len(views[0].images.seen.images), *shape, device=self.extractor.backbone.device)

        def add(flipped: bool, down: slice, across: slice, scores: Tensor) -> None:
            if flipped:
                across, scores = _mirrored(across, width), scores.flip(2)
            part = total[:, down.start - rows.start : down.stop - rows.start]
            part[:, :, across.start - columns.start : across.stop - columns.start] += scores

        for view in views:
            within = rows, _mirrored(columns, width) if view.flipped else columns
            likely = partial(_probabilities, view.classifier)
            visit_pixels(view.images, size, view.classifier, likely, partial(add, view.flipped), within)
        return total.div_(len(views))


def _probabilities(classifier: PixelHead, hidden: Tensor, where: PixelCoordinates) -> Tensor:
    """Compute the class probabilities (..., classes) float32 of pixels from the output of the first layer."""
    return classifier.head(hidden, where).float().softmax(-1)


def _mirrored(part: slice, length: int) -> slice:
    """Return where a slice of an axis of some length lies after the axis is mirrored."""
    return slice(length - part.stop, length - part.start)
