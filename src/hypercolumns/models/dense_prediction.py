"""Values for all pixels of images, computed by a classifier and held for a few pixels at a time."""

from collections.abc import Callable

import torch
from torch import Tensor

from hypercolumns.coordinates import ImageSize, PixelCoordinates, full_image_box, normalised_coordinates
from hypercolumns.models.classifiers import Classifier
from hypercolumns.models.engine import Head, classify
from hypercolumns.models.windows import Area, WholeImages, WindowedImages

ImageView = WholeImages | WindowedImages
VisitPixels = Callable[[slice, slice, Tensor], None]  # takes rows, columns and their values, see `visit_pixels`


def visit_pixels(
    view: ImageView,
    size: ImageSize,
    classifier: Classifier,
    head: Callable[[Tensor, PixelCoordinates], Tensor],
    visit: VisitPixels,
    within: Area | None = None,
) -> None:
    """Apply the classifier's first layer, and then `head`, to pixels, and hold the results of a few at a time.

    Args:
        view: the images.
        size: (height, width) of the images, in pixels.
        classifier: gives the first layer.
        head: a function that takes the arguments of `Classifier.head`, and returns C values for each pixel.
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


def bind_coordinates(
    head: Callable[[Tensor, PixelCoordinates], Tensor], boxes: Tensor, needs_coordinates: bool
) -> Head:
    """Turn a classifier's `head` into a function of the pixels' rows and columns, as `engine.classify` needs it.

    `Classifier.head` takes normalised coordinates instead of rows and columns.

    Args:
        head: a function that takes the arguments of `Classifier.head`.
        boxes: (B, 4), the crop boxes.
        needs_coordinates: see `Classifier`. If false, `head` gets empty tensors, which saves time.

    Returns:
        The function, which computes the normalised coordinates and calls `head`.
    """
    if not needs_coordinates:
        nowhere = PixelCoordinates(torch.empty(0), torch.empty(0))
        return lambda hidden, rows, columns: head(hidden, nowhere)
    boxes = boxes.cpu()  # rows and columns are on the CPU
    return lambda hidden, rows, columns: head(hidden, normalised_coordinates(rows, columns, boxes))
