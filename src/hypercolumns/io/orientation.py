"""Read from the header of an image file how its stored pixels must be turned to be upright."""

from pathlib import Path
from typing import BinaryIO, NamedTuple

from PIL import ExifTags, Image, ImageFile

from hypercolumns.io import tiff
from hypercolumns.io.images import FORMATS, SIDEWAYS, PixelShape, opened_file
from hypercolumns.io.tiff_tags import is_tiff

UPRIGHT = 1  # a value of the tag Orientation
HEAD_BYTES = 1 << 14  # of a JPEG file; its first segments, before the pixels, are usually shorter
PNG_START = b"\x89PNG\r\n\x1a\n"
PNG_TEXTS = (b"iTXt", b"tEXt", b"zTXt")  # chunks whose first bytes are a keyword


class StoredImage(NamedTuple):
    """An image that its file does not store upright.

    Attributes:
        size: (height, width) as stored.
        orientation: how the pixels must be turned to be upright, see `tiff.turn`: a value of the tag Orientation, from
            2 to 8.
    """

    size: PixelShape
    orientation: int

    @property
    def upright_size(self) -> PixelShape:
        """The (height, width) after the image is turned."""
        return self.size[::-1] if self.orientation in SIDEWAYS else self.size


def turned_image(path: Path) -> StoredImage | None:
    """Read how an image must be turned, without decoding the pixels of most files.

    The orientation is that which `read_image` applies. Damaged EXIF data is ignored, as there.

    Returns:
        The size and the orientation; None for an image that is stored upright.

    Raises:
        HypercolumnsError: if the file can't be read as an image.
    """
    with opened_file(path, FORMATS) as file:
        head = file.read(HEAD_BYTES)
        file.seek(0)
        if is_tiff(head[:4]):
            page = tiff.read_pages(file)[0]
            return None if page.orientation == UPRIGHT else StoredImage(page.size, page.orientation)
        if not (_png_has_exif(file) if head.startswith(PNG_START) else _jpeg_may_have_exif(head)):
            return None
        file.seek(0)
        with Image.open(file, formats=FORMATS) as image:
            orientation = _orientation(image)
            return None if orientation == UPRIGHT else StoredImage((image.height, image.width), orientation)


def _orientation(image: ImageFile.ImageFile) -> int:
    try:
        orientation = image.getexif().get(ExifTags.Base.Orientation, UPRIGHT)
    except MemoryError:
        raise
    except Exception:  # Pillow fails on damaged EXIF data
        return UPRIGHT
    return orientation if orientation in range(1, 9) else UPRIGHT


def _jpeg_may_have_exif(head: bytes) -> bool:
    """Whether the first bytes of a JPEG file do not rule out EXIF data; also true for files of other formats."""
    position = 2
    while head.startswith(b"\xff\xd8") and head[position : position + 1] == b"\xff" and len(head) >= position + 4:
        marker = head[position + 1]
        if marker == 0xDA:  # the pixels begin
            return False
        if marker == 0xE1:  # EXIF or XMP data
            return True
        position += 2 + int.from_bytes(head[position + 2 : position + 4])
    return True


def _png_has_exif(file: BinaryIO) -> bool:
    """Whether a PNG file has EXIF or XMP data. Such data may follow the pixels, which Pillow would decode first."""
    file.seek(len(PNG_START))
    while len(start := file.read(8)) == 8:
        length, kind = int.from_bytes(start[:4]), start[4:]
        if kind == b"eXIf":
            return True
        keyword = file.read(min(length, 40)).lower() if kind in PNG_TEXTS else b""
        if b"exif" in keyword or b"xmp" in keyword:
            return True
        file.seek(length - len(keyword) + 4, 1)
    return False
