"""A predicted image as annotation tools see it: a mask for each class, and nothing for the background."""

from collections.abc import Collection, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hypercolumns.labels import IGNORE_INDEX, is_background


class LabelledImage(NamedTuple):
    """An image file and its predicted labels.

    Attributes:
        file: the path of the image file, relative to the folder that contains all inputs, see `Source.file`.
        labels: (H, W) uint8, class indices.
    """

    file: str
    labels: NDArray[np.uint8]


def annotated_classes(classes: Sequence[str]) -> list[int]:
    """Return the indices of the classes that get annotations: all but the background, see `is_background`."""
    return [index for index, name in enumerate(classes) if not is_background(name)]


def class_masks(labels: NDArray[np.uint8], annotated: Collection[int]) -> Iterator[tuple[int, NDArray[np.bool_]]]:
    """Yield the index and the mask (H, W) of each class that occurs in an image, in the order of the indices.

    Only classes in `annotated` are yielded. Void is never yielded.
    """
    for index in np.flatnonzero(np.bincount(labels.ravel())).tolist():
        if index in annotated and index != IGNORE_INDEX:
            yield index, labels == index
