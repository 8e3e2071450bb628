"""Read and write image files."""

import errno
import io
import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageFile, ImageOps, UnidentifiedImageError
from torch import Tensor

from hypercolumns.errors import HypercolumnsError, UnreadableError, check_int
from hypercolumns.io.files import atomic_write

PixelShape = tuple[int, ...]  # (height, width), or () for a file that can't be used
MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr")  # Pillow's modes with at most 8 bits per channel
CLIPPED_MODES = ("LA;16B",)  # a PNG layout with 16 bits, which Pillow reads as mode LA with 8 bits
FORMATS = ("JPEG", "PNG", "BMP", "TIFF", "WEBP")  # image formats; a file's contents decide, not its name
# These error numbers mean that the file must be mended, not the disk: the path is invalid, or the contents make a
# decoder seek to an invalid offset.
BAD_PATH_ERRORS = (
    errno.ENAMETOOLONG,
    errno.ELOOP,
    errno.EINVAL,
)
SIDEWAYS = (5, 6, 7, 8)  # EXIF orientations that swap height and width
MAX_PIXELS_VARIABLE = "HYPERCOLUMNS_MAX_PIXELS"  # an environment variable, so that child processes inherit the limit
SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp")


def set_max_pixels(max_pixels: int) -> None:
    """Set the maximum number of pixels of an image or mask. A file with more pixels is refused.

    The limit holds for this process, and for all child processes that it starts after this call.

    Raises:
        ArgumentError: unless `max_pixels` is an integer of at least 1.
    """
    check_int("max_pixels", max_pixels, minimum=1)
    os.environ[MAX_PIXELS_VARIABLE] = str(max_pixels)
    Image.MAX_IMAGE_PIXELS = max_pixels


if os.environ.get(MAX_PIXELS_VARIABLE, "").isdecimal():  # other values do not come from `set_max_pixels`
    Image.MAX_IMAGE_PIXELS = int(os.environ[MAX_PIXELS_VARIABLE])


def read_image(path: Path, size: PixelShape | None = None) -> Tensor:
    """Read an image file as RGB (3, H, W) uint8.

    Args:
        path: the file.
        size: the (height, width) of the image's mask. It decides whether the EXIF rotation is applied, see `as_rgb`.
            None: there is no mask, and the rotation is applied.

    Raises:
        HypercolumnsError: if the file is missing, can't be decoded completely, has more pixels than `set_max_pixels`
            allows, or has an unsupported pixel format.
    """
    with opened_image(path, FORMATS) as image:
        return torch.from_numpy(np.array(as_rgb(image, path, size))).permute(2, 0, 1)


def as_rgb(image: Image.Image, name: object, size: PixelShape | None = None) -> Image.Image:
    """Convert an image to RGB: apply the EXIF rotation and blend transparent pixels over white.

    Some annotation tools ignore EXIF, so their masks fit the image before the rotation. The rotation is therefore not
    applied if it changes (height, width) and the mask has the size before the rotation. Damaged EXIF data is ignored.
    RGB images with 16 bits per channel keep the higher 8 bits.

    Args:
        image: the image. If it comes from a file, it must not be decoded yet, see `_check_kind`.
        name: the image's name, for messages.
        size: the (height, width) of the image's mask. None: there is no mask.

    Returns:
        The image in mode RGB.

    Raises:
        HypercolumnsError: if the pixel format is not supported. For example, grey with more than 8 bits is not
            supported, because the range of its values is unknown.
    """
    _check_kind(image, name)
    image.load()
    try:
        upright = ImageOps.exif_transpose(image)
    except MemoryError:
        raise
    except Exception:  # Pillow fails on damaged EXIF data; other programs show such an image unrotated
        upright = image
    if size is not None and (upright.height, upright.width) != size == (image.height, image.width):
        upright = image
    if upright.has_transparency_data:
        coloured = upright.convert("RGBA")
        upright = Image.alpha_composite(Image.new("RGBA", coloured.size, "white"), coloured)
    return upright.convert("RGB")


def image_size(path: Path, size: PixelShape | None = None) -> PixelShape:
    """Read the (height, width) of an image from the header of its file, without decoding the image.

    Args:
        path: the file.
        size: the (height, width) of the image's mask. None: there is no mask.

    Returns:
        The size before the EXIF rotation. One case is an exception: if the rotation changes the size, and the mask has
        the size after the rotation, the size after the rotation is returned.

    Raises:
        HypercolumnsError: if the header shows that the file can't be used as an image.
    """
    with opened_image(path, FORMATS) as image:
        _check_kind(image, path)
        stored = image.height, image.width
        if stored != size and stored[::-1] == size and image.getexif().get(ExifTags.Base.Orientation) in SIDEWAYS:
            return size
        return stored


def write_image(path: Path, image: Image.Image, quality: int = 75) -> None:
    """Write an image file, atomically. The suffix of `path` decides the format.

    Args:
        path: the file.
        image: the image.
        quality: the quality of a JPEG file, from 1 to 95. It has no effect on a PNG file.
    """
    with atomic_write(path) as temporary:
        image.save(temporary, format=Image.registered_extensions()[path.suffix.lower()], quality=quality)


def encode_png(picture: NDArray[np.uint8]) -> bytes:
    """Encode a picture (H, W, 3) uint8 RGB as the contents of a PNG file, with a fast but weak compression."""
    file = io.BytesIO()
    Image.fromarray(picture).save(file, format="PNG", compress_level=1)
    return file.getvalue()


@contextmanager
def opened_image(path: Path, formats: tuple[str, ...]) -> Iterator[ImageFile.ImageFile]:
    """Open an image file and read its header.

    Yields:
        The image; its pixels are not decoded yet.

    Raises:
        HypercolumnsError: if the file is missing, is in none of `formats`, or has too many pixels, or if the `with`
            block fails to decode the file.
        UnreadableError: if the operating system can't read the file.
    """
    max_pixels = Image.MAX_IMAGE_PIXELS
    too_large = (
        f"than max_pixels={max_pixels}: the decoded image could fill the memory; scale the image down, or set "
        f"max_pixels higher if the size is correct"
    )
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # reading a pipe could block forever
            raise HypercolumnsError(f"{path} is not a file; replace it by an image or leave it out of the data")
        with Image.open(path, formats=formats) as image:
            # Pillow itself raises only above twice the limit
            if max_pixels is not None and image.width * image.height > max_pixels:
                raise HypercolumnsError(f"{path} has {image.width}x{image.height} pixels, more {too_large}")
            yield image
    except (HypercolumnsError, MemoryError):
        raise
    except (FileNotFoundError, NotADirectoryError):
        leads = f" is a link to {os.readlink(path)}, which" if path.is_symlink() else ""
        raise HypercolumnsError(f"{path}{leads} does not exist; add the file or leave it out of the data") from None
    except UnidentifiedImageError:
        fault = "not an image in a supported format ({})".format(", ".join(formats)) if path.stat().st_size else "empty"
        raise HypercolumnsError(f"{path} is {fault}; replace it or leave it out of the data") from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        claimed = re.search(r"\d+", str(error))  # the first number in Pillow's message is the number of pixels
        raise HypercolumnsError(
            f"{path} has {claimed[0] if claimed else 'too many'} pixels, more {too_large}"
        ) from None
    except Exception as error:  # decoders can raise anything
        if isinstance(error, OSError) and error.errno is not None and error.errno not in BAD_PATH_ERRORS:
            raise UnreadableError(
                f"{path} can't be read ({error.strerror}), but may be a valid file: make it readable, or repair the "
                f"disk or the machine, and run the command again"
            ) from error
        raise HypercolumnsError(f"{path} can't be decoded ({error}); replace it or leave it out of the data") from error


def _check_kind(image: Image.Image, name: object) -> None:
    """Check that the pixel format of an image is supported.

    If the image comes from a file, it must not be decoded yet: a decoded image no longer holds the pixel layout of the
    file. `name` is the image's name, for the message.

    Raises:
        HypercolumnsError: if the pixel format is not supported.
    """
    kind = pixel_format(image)
    if image.mode not in MODES or kind in CLIPPED_MODES:
        unread = kind if kind in CLIPPED_MODES else image.mode
        raise HypercolumnsError(
            f"{name} has an unsupported pixel format ({unread}); convert it to RGB or grey with 8 bits per channel"
        )


def pixel_format(image: Image.Image) -> str:
    """Return a text that describes the pixel format of an image.

    If the image is a file that is not decoded yet, the text is what Pillow passes to the decoder. For a PNG, this is
    the pixel layout in the file, such as `P;4`. If the image is decoded already, or does not come from a file, the text
    is the image's Pillow mode, such as `RGB`.
    """
    return str(image.tile[0].args) if isinstance(image, ImageFile.ImageFile) and image.tile else image.mode
