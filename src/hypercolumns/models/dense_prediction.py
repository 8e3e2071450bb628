"""Apply a classifier to all pixels of images, window by window."""

from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor, nn

from hypercolumns.coordinates import ImageSize, PixelCoordinates, full_image_box, normalised_coordinates
from hypercolumns.models.engine import AdaptiveSettings, Head, adaptive_labels, classify
from hypercolumns.models.slices import slices_within
from hypercolumns.models.window_sizes import window_sides
from hypercolumns.models.windows import Area, ImageView

MAX_ADAPTIVE = 1_000_000  # pixels of an image that are predicted adaptively at a time

VisitPixels = Callable[[slice, slice, Tensor], None]  # takes rows, columns and their values, see `visit_pixels`


class PixelHead(Protocol):
    """What classifies the pixels of some images: a classifier, or a classifier with a second pass for these images."""

    @property
    def needs_coordinates(self) -> bool:
        """Whether `head` uses its argument `coordinates`; if not, they may be empty tensors."""
        ...

    def folded_first_layer(self) -> tuple[Tensor, Tensor]:
        """Return the weight and the bias of the first layer, see `Classifier.folded_first_layer`."""
        ...

    def head(self, hidden: Tensor, coordinates: PixelCoordinates) -> Tensor:
        """Compute logits from the output of the first layer, see `Classifier.head`."""
        ...

    def head_parameters(self) -> list[nn.Parameter]:
        """Return the parameters that `head` uses."""
        ...


def visit_pixels(
    view: ImageView,
    size: ImageSize,
    classifier: PixelHead,
    head: Callable[[Tensor, PixelCoordinates], Tensor],
    visit: VisitPixels,
    within: Area | None = None,
) -> None:
    """Apply the classifier's first layer, and then `head`, to pixels, and hold the results of a few at a time.

    Args:
        view: the images.
        size: (height, width) of the images, in pixels.
        classifier: gives the first layer.
        head: a function that takes the arguments of `PixelHead.head`, and returns C values for each pixel.
        visit: called with the rows, the columns and the values (B, h, w, C) of one part after the other.
        within: the rows and columns of the pixels; None: all pixels.
    """
    bound = bind_coordinates(head, full_image_box(size), classifier.needs_coordinates)

    def visiting(hidden: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
        values = bound(hidden, rows, columns)
        down, across = (slice(int(line[0]), int(line[-1]) + 1) for line in (rows.flatten(), columns.flatten()))
        visit(down, across, values)
        return values[..., :0]  # nothing is to be assembled

    first_layer = classifier.folded_first_layer()
    for rows, columns, maps in view.windows(within):
        pixels = torch.arange(rows.start, rows.stop), torch.arange(columns.start, columns.stop)
        classify(maps, *pixels, *first_layer, visiting)
        del maps  # frees the memory before the next window is computed


def classify_pixels(
    view: ImageView,
    size: ImageSize,
    classifier: PixelHead,
    head: Callable[[Tensor, PixelCoordinates], Tensor],
    boxes: Tensor | None = None,
) -> Tensor:
    """Apply the classifier's first layer, and then `head`, to every pixel of the images, window by window.

    Args:
        view: the images.
        size: (height, width) of the images, in pixels.
        classifier: gives the first layer.
        head: a function that takes the arguments of `PixelHead.head`, and returns C values for each pixel.
        boxes: (B, 4), the crop boxes (top, left, height, width), in pixels; None: the images are not crops.

    Returns:
        (B, H, W, C), the values that `head` returns.
    """
    weight, bias = classifier.folded_first_layer()
    boxes_or_image = full_image_box(size) if boxes is None else boxes
    bound = bind_coordinates(head, boxes_or_image, classifier.needs_coordinates)
    parameters = classifier.head_parameters()
    whole: Tensor | None = None
    for rows, columns, maps in view.windows():
        pixels = torch.arange(rows.start, rows.stop), torch.arange(columns.start, columns.stop)
        part = classify(maps, *pixels, weight, bias, bound, parameters)
        if part.shape[1:3] == size:
            return part
        if whole is None:
            whole = part.new_empty(len(part), *size, part.shape[-1])
        whole[:, rows, columns] = part
        del maps  # frees the memory before the next window is computed
    assert whole is not None, "there is at least one window"
    return whole


def label_adaptively(view: ImageView, size: ImageSize, classifier: PixelHead, adaptive: AdaptiveSettings) -> Tensor:
    """Predict the class of every pixel approximately, by `engine.adaptive_labels`.

    Args:
        view: the images.
        size: (height, width) of the images, in pixels.
        classifier: classifies the hypercolumns.
        adaptive: the settings.

    Returns:
        (B, H, W) uint8, class indices.
    """
    first_layer = classifier.folded_first_layer()
    head = bind_coordinates(classifier.head, full_image_box(size), classifier.needs_coordinates)
    images = view.seen.images
    labels = torch.empty(len(images), *size, dtype=torch.uint8, device=images.device)
    for rows, columns, maps in view.windows():
        # A window of images that the backbone sees smaller can have many pixels.
        sides = window_sides((rows.stop - rows.start, columns.stop - columns.start), (0, 0), MAX_ADAPTIVE)
        for down in slices_within(rows, sides[0]):
            for across in slices_within(columns, sides[1]):
                for index, part in enumerate(labels[:, down, across]):
                    image_maps = [tap_map._replace(values=tap_map.values[index : index + 1]) for tap_map in maps]
                    part.copy_(adaptive_labels(image_maps, down, across, *first_layer, head, adaptive))
                    del image_maps
        del maps  # frees the memory before the next window is computed
    return labels


def bind_coordinates(
    head: Callable[[Tensor, PixelCoordinates], Tensor], boxes: Tensor, needs_coordinates: bool
) -> Head:
    """Turn a classifier's `head` into a function of the pixels' rows and columns, as `engine.classify` needs it.

    `PixelHead.head` takes normalised coordinates instead of rows and columns.

    Args:
        head: a function that takes the arguments of `PixelHead.head`.
        boxes: (B, 4), the crop boxes.
        needs_coordinates: see `PixelHead`. If false, `head` gets empty tensors, which saves time.

    Returns:
        The function, which computes the normalised coordinates and calls `head`.
    """
    if not needs_coordinates:
        nowhere = PixelCoordinates(torch.empty(0), torch.empty(0))
        return lambda hidden, rows, columns: head(hidden, nowhere)
    boxes = boxes.cpu()  # rows and columns are on the CPU
    return lambda hidden, rows, columns: head(hidden, normalised_coordinates(rows, columns, boxes))
