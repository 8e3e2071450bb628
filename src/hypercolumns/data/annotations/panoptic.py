"""The mask of an image in COCO's panoptic format: a PNG file of segment ids, whose classes a JSON file lists."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hypercolumns.errors import HypercolumnsError, shorten_list
from hypercolumns.io.files import file_hash, file_signature
from hypercolumns.io.images import PixelShape
from hypercolumns.io.mask_source import MaskPixels
from hypercolumns.io.masks import decode_mask, mask_size

NO_SEGMENT = 0  # the id of pixels without a segment


@dataclass(frozen=True)
class PanopticMask:
    """The mask of one image, from the ids of the segments in a PNG file, see `MaskSource`.

    The id of a segment is red + 256 * green + 65536 * blue.

    Attributes:
        path: the JSON file.
        image: the image file, for messages.
        png: the PNG file; None if the JSON file names none.
        segments: the id and the value of each segment.
        fill: the value of pixels without a segment.
    """

    path: Path
    image: Path
    png: Path | None
    segments: tuple[tuple[int, int], ...]
    fill: int

    def __str__(self) -> str:
        """Return the name of the mask for messages."""
        return str(self.png or f"{self.path} (image {self.image.name})")

    @property
    def annotated(self) -> bool:
        """Whether the JSON file names the PNG file, see `MaskSource`."""
        return self.png is not None

    def size(self) -> PixelShape:
        """Return the (height, width) of the PNG file, see `MaskSource`."""
        return mask_size(self._png())

    def decode(self) -> MaskPixels:
        """Replace the ids of the segments by their values, see `MaskSource`."""
        png = self._png()
        colours = decode_mask(png).values
        if colours.ndim != 3:
            raise HypercolumnsError(f"{png} must be an RGB file, whose colours are the ids of segments")
        ids = colours.astype(np.int64) @ np.array([1, 1 << 8, 1 << 16])
        known = sorted({NO_SEGMENT: self.fill, **dict(self.segments)}.items())
        numbers = np.array([id for id, _ in known])
        place = np.searchsorted(numbers, ids).clip(max=len(known) - 1)
        unknown = np.unique(ids[numbers[place] != ids])
        if len(unknown):
            raise HypercolumnsError(
                f"{png} has segments that {self.path} does not list ({shorten_list(unknown.astype(str).tolist())}); "
                f"export both files again"
            )
        values = np.array([value for _, value in known], np.uint16)
        return MaskPixels(values[place], (), 16)

    def digest(self) -> str:
        """Return a hash of all that decides the pixels, see `MaskSource`."""
        return self._hash(file_hash(self._png()))

    def signature(self) -> str:
        """Return a hash that changes with the mask, see `MaskSource`."""
        return self._hash(file_signature(self.png or self.path))

    def _png(self) -> Path:
        if self.png is None:
            raise HypercolumnsError(
                f"{self}: the file has no segments of this image; annotate it, or set data.unlabelled=skip"
            )
        return self.png

    def _hash(self, png: str) -> str:
        return hashlib.sha256(repr([png, self.segments, self.fill]).encode()).hexdigest()
