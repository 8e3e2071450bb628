"""The images that are labelled, by their numbers: their pixels, as the model and as the browser gets them."""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Lock

from PIL import ExifTags, Image
from torch import Tensor

from hypercolumns.annotation.labels.label_files import LabelFiles
from hypercolumns.annotation.serving.thumbnails import MAX_SIDE
from hypercolumns.errors import HypercolumnsError
from hypercolumns.io.decoding import AS_STORED, ImageDecoding
from hypercolumns.io.images import PixelShape, encode_png, image_size, opened_image, read_image
from hypercolumns.io.masks import mask_size
from hypercolumns.visualization.overlays import shown_channels

MAX_DECODED = 3  # images whose pixels stay in memory
CONTENT_TYPES = {"JPEG": "image/jpeg", "PNG": "image/png"}  # formats that browsers decode as we do


@dataclass(frozen=True)
class ImageToLabel:
    """An image, and the files of its labels.

    Attributes:
        name: the id of the image.
        path: its file.
        labels: the files of its labels.
    """

    name: str
    path: Path
    labels: LabelFiles


class ImageList:
    """The images that are labelled. It is safe to use from several threads.

    Args:
        images: the images.
        decoding: the rules that turn the stored pixels into what the model sees.

    Attributes:
        images: the images.
    """

    def __init__(self, images: Sequence[ImageToLabel], decoding: ImageDecoding = AS_STORED) -> None:
        self.images, self._decoding = tuple(images), decoding
        self._lock = Lock()
        self._sizes: dict[int, PixelShape] = {}
        self._pixels: OrderedDict[int, Tensor] = OrderedDict()

    def pixels(self, number: int) -> Tensor:
        """Return an image (N, H, W) uint8 as the model sees it.

        It is turned upright, unless its mask has the size of the image as it is stored.

        Raises:
            HypercolumnsError: if the image or its mask can't be used.
        """
        with self._lock:
            pixels = self._pixels.pop(number, None)
            if pixels is None:
                pixels = read_image(self.images[number].path, self._mask_size(number), self._decoding)
            self._pixels[number] = pixels
            self._sizes[number] = (pixels.shape[1], pixels.shape[2])
            while len(self._pixels) > MAX_DECODED:
                self._pixels.popitem(last=False)
        return pixels

    def size(self, number: int) -> PixelShape:
        """Return the (height, width) of an image.

        Raises:
            HypercolumnsError: if the image or its mask can't be used.
        """
        known = self._sizes.get(number)
        if known is None:
            self.pixels(number)
            known = self._sizes[number]
        return known

    def small(self, number: int) -> Image.Image:
        """Return an image as a browser shows it, at a lower resolution if that is quicker.

        Raises:
            HypercolumnsError: if the image can't be used.
        """
        path, mask = self.images[number].path, self._mask_size(number)
        size = image_size(path, mask, self._decoding)
        if self._decoding == AS_STORED and _plain_content_type(path, size) == CONTENT_TYPES["JPEG"]:
            with opened_image(path, ("JPEG",)) as image:
                image.draft("RGB", (2 * MAX_SIDE, 2 * MAX_SIDE))  # decodes an eighth of the pixels of a side
                return image.convert("RGB")
        pixels = read_image(path, mask, self._decoding)  # not kept: it would push out the images that are open
        return Image.fromarray(shown_channels(pixels).permute(1, 2, 0).contiguous().numpy())

    def _mask_size(self, number: int) -> PixelShape | None:
        """Return the (height, width) by which an image is turned upright or not; None if it has no mask."""
        mask = self.images[number].labels.mask
        return self._sizes.get(number) or (mask_size(mask) if mask.is_file() else None)

    def for_browser(self, number: int) -> tuple[bytes, str]:
        """Return the content and the content type of a file that a browser shows as the model sees the image.

        Raises:
            HypercolumnsError: if the image can't be used.
        """
        path, size = self.images[number].path, self.size(number)
        if self._decoding == AS_STORED and (content_type := _plain_content_type(path, size)):
            return path.read_bytes(), content_type
        picture = shown_channels(self.pixels(number)).permute(1, 2, 0).contiguous().numpy()
        return encode_png(picture), "image/png"


def _plain_content_type(path: Path, size: PixelShape) -> str | None:
    """Return the content type of an image file; None if a browser may show other pixels than the model sees.

    Args:
        path: the file.
        size: the (height, width) of the image as the model sees it.
    """
    try:
        with opened_image(path, tuple(CONTENT_TYPES)) as image:
            plain = (
                image.mode in ("RGB", "L") and not image.has_transparency_data and (image.height, image.width) == size
            )
            upright = image.getexif().get(ExifTags.Base.Orientation, 1) == 1
            animated = getattr(image, "is_animated", False)
            return CONTENT_TYPES[str(image.format)] if plain and upright and not animated else None
    except HypercolumnsError:
        return None
