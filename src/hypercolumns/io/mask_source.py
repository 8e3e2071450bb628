"""Masks that are no image files, such as the shapes in an annotation file, and what they have in common with files."""

import os
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from hypercolumns.io.files import file_hash, file_signature
from hypercolumns.io.images import PixelShape
from hypercolumns.labels import Palette


class MaskPixels(NamedTuple):
    """The pixels of a mask, before they are turned into class indices.

    Attributes:
        values: (H, W) uint8 or uint16, the values of a grey file or the indices of a palette file; (H, W, 3) uint8, the
            colours of an RGB file.
        palette: the colour of each index of a palette file; () for other masks.
        bits: the number of bits of a value in the file.
    """

    values: NDArray[np.uint8] | NDArray[np.uint16]
    palette: Palette
    bits: int


class MaskSource(Protocol):
    """The mask of an image that is drawn when it is needed, from what a file says about the image.

    Its text, `str(source)`, names the mask in messages: the file, and the image in it. A source is hashable, and cheap
    to send to another process, so it holds what concerns its own image only.
    """

    @property
    def path(self) -> Path:
        """The file that holds the annotation."""

    @property
    def annotated(self) -> bool:
        """Whether the image has an annotation; false if a person has not annotated it yet."""

    def size(self) -> PixelShape:
        """Return the (height, width) of the mask, without drawing it.

        Raises:
            HypercolumnsError: if the mask can't be drawn.
        """

    def decode(self) -> MaskPixels:
        """Draw the mask, with the values of the data set's `ClassList`.

        Raises:
            HypercolumnsError: if the mask can't be drawn.
        """

    def digest(self) -> str:
        """Return a hash of all that decides the pixels, in hexadecimal. It does not depend on the place of files."""

    def signature(self) -> str:
        """Return a hash that changes if the mask may have changed, in hexadecimal, without reading large files."""


Mask = Path | MaskSource  # an image file, or a source that draws the mask


def has_mask(mask: Mask) -> bool:
    """Whether an image has a mask: its file exists (or is a broken link), or its source is annotated."""
    return os.path.lexists(mask) if isinstance(mask, Path) else mask.annotated


def mask_hash(mask: Mask) -> str:
    """Return a hash of the content of a mask, in hexadecimal."""
    return file_hash(mask) if isinstance(mask, Path) else mask.digest()


def mask_signature(mask: Mask) -> str:
    """Return a hash that changes if a mask may have changed, see `file_signature`."""
    return file_signature(mask) if isinstance(mask, Path) else mask.signature()
