"""Read and write image and mask files."""

import errno
import io
import os
import re
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageFile, ImageOps, UnidentifiedImageError
from torch import Tensor

from hypercolumns.errors import HypercolumnsError, UnreadableError, check_int
from hypercolumns.io.files import atomic_write
from hypercolumns.labels import IGNORE_INDEX, VOID_COLOUR, Colour, colour_table

PixelShape = tuple[int, ...]  # (height, width), or () for a file that can't be used
MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr")  # Pillow's modes with at most 8 bits per channel
# Pillow's names of the PNG pixel layouts that are accepted for masks. Grey with fewer than 8 bits is excluded: in a
# 4-bit file, some programs take the value 1 for label 1, others for the grey level 1 / 15, which is label 17 of 255.
MASK_MODES = ("P", "P;1", "P;2", "P;4", "L", "I;16B", "RGB")
CLIPPED_MODES = ("LA;16B",)  # a PNG layout with 16 bits, which Pillow reads as mode LA with 8 bits
FORMATS = ("JPEG", "PNG", "BMP", "TIFF", "WEBP")  # image formats; a file's contents decide, not its name
MASK_FORMATS = ("PNG",)  # files in other formats can hold changed labels, for example after lossy compression
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
    with _opened(path, FORMATS) as image:
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


def read_mask(path: Path, palette: Sequence[Colour], classes: int) -> Tensor:
    """Read a mask from a PNG file as class indices.

    The pixels of a palette file, or of a grey file with 8 or 16 bits, are the class indices. The pixels of an RGB file
    have the colours of `palette`, or Pascal VOC's colour for void: (224, 224, 192).

    Args:
        path: the file.
        palette: the colour of each class, by class index, for RGB files.
        classes: the number of classes.

    Returns:
        (H, W) uint8 class indices, 255 for void.

    Raises:
        HypercolumnsError: if the file is not a PNG of one of these kinds or can't be decoded, if a colour is neither in
            `palette` nor void's colour, or if a label is neither a class nor void.
    """
    with _opened(path, MASK_FORMATS) as image:
        image.verify()  # compares the file with its checksums, which Pillow ignores when it decodes
    with _opened(path, MASK_FORMATS) as image:
        _check_mask_kind(image, path)
        image.load()
    labels = _indices(np.array(image), palette, path) if image.mode == "RGB" else np.array(image)
    outside = np.setdiff1d(labels, [*range(classes), IGNORE_INDEX])
    if outside.size:
        count = int(np.isin(labels, outside).sum())
        raise HypercolumnsError(
            f"{path}: {count} pixels have labels that are not a class ({', '.join(map(str, outside[:5]))}); the "
            f"classes have labels 0 to {classes - 1}, and void has {IGNORE_INDEX}: correct the mask, or list all "
            f"classes in the text file that data.classes names"
        )
    return torch.from_numpy(labels.astype(np.uint8, copy=False))


def read_pair(image: Path, mask: Path, palette: Sequence[Colour], classes: int) -> tuple[Tensor, Tensor]:
    """Read an image and its mask from their files.

    Args:
        image: the image file.
        mask: the mask file.
        palette: the colour of each class, by class index, for RGB masks.
        classes: the number of classes.

    Returns:
        The image (3, H, W) uint8 and the class indices (H, W) uint8.

    Raises:
        HypercolumnsError: if one of the two files can't be used, or if the image and the mask have different sizes.
    """
    labels = read_mask(mask, palette, classes)
    pixels = read_image(image, labels.shape)
    check_sizes(image, pixels.shape[1:], mask, labels.shape)
    return pixels, labels


def check_sizes(image: Path, image_size: PixelShape, mask: Path, mask_size: PixelShape) -> None:
    """Check that an image and its mask have the same size.

    Args:
        image: the image file.
        image_size: the image's (height, width).
        mask: the mask file.
        mask_size: the mask's (height, width).

    Raises:
        HypercolumnsError: if the image and the mask have different sizes.
    """
    if tuple(image_size) != tuple(mask_size):
        raise HypercolumnsError(
            f"{mask} is {mask_size[1]}x{mask_size[0]}, but its image {image} is {image_size[1]}x{image_size[0]}; both "
            f"must have the same size"
        )


def mask_size(path: Path) -> PixelShape:
    """Read the (height, width) of a mask from the header of its file, without decoding the mask.

    Raises:
        HypercolumnsError: if the header shows that the file can't be used as a mask.
    """
    with _opened(path, MASK_FORMATS) as image:
        _check_mask_kind(image, path)
        return image.height, image.width


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
    with _opened(path, FORMATS) as image:
        _check_kind(image, path)
        stored = image.height, image.width
        if stored != size and stored[::-1] == size and image.getexif().get(ExifTags.Base.Orientation) in SIDEWAYS:
            return size
        return stored


def write_mask(path: Path, labels: NDArray[np.uint8], palette: Sequence[Colour]) -> None:
    """Write class indices as a PNG file with a palette, atomically.

    Args:
        path: the file.
        labels: (H, W) uint8 class indices, 255 for void.
        palette: the colour of each class, by class index.
    """
    image = Image.fromarray(labels)
    image.putpalette([value for colour in colour_table(palette) for value in colour])
    write_image(path, image)


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
def _opened(path: Path, formats: tuple[str, ...]) -> Iterator[ImageFile.ImageFile]:
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
    kind = _kind(image)
    if image.mode not in MODES or kind in CLIPPED_MODES:
        unread = kind if kind in CLIPPED_MODES else image.mode
        raise HypercolumnsError(
            f"{name} has an unsupported pixel format ({unread}); convert it to RGB or grey with 8 bits per channel"
        )


def _check_mask_kind(image: Image.Image, path: Path) -> None:
    kind = _kind(image)
    if kind not in MASK_MODES:
        raise HypercolumnsError(
            f"{path}: a mask must be a PNG with class indices (palette, or grey with 8 or 16 bits) or with the "
            f"colours of the classes (8-bit RGB), but the pixel format of this file is {kind}; convert the file"
        )


def _kind(image: Image.Image) -> str:
    """Return a text that describes the pixel format of an image.

    If the image is a file that is not decoded yet, the text is what Pillow passes to the decoder. For a PNG, this is
    the pixel layout in the file, such as `P;4`. If the image is decoded already, or does not come from a file, the text
    is the image's Pillow mode, such as `RGB`.
    """
    return str(image.tile[0].args) if isinstance(image, ImageFile.ImageFile) and image.tile else image.mode


def _indices(rgb: NDArray[np.uint8], palette: Sequence[Colour], path: Path) -> NDArray[np.uint8]:
    """Convert the colours of an RGB mask to class indices.

    Args:
        rgb: (H, W, 3) uint8, the colours of the mask.
        palette: the colour of each class, by class index.
        path: the mask file, for the message.

    Returns:
        (H, W) uint8 class indices, 255 for void.

    Raises:
        HypercolumnsError: if a colour is neither in `palette` nor void's colour.
    """
    codes = rgb.astype(np.int64) @ np.array([1 << 16, 1 << 8, 1])
    table = {_code(colour): index for index, colour in reversed(list(enumerate(palette)))}
    table.setdefault(_code(VOID_COLOUR), IGNORE_INDEX)
    used, inverse = np.unique(codes, return_inverse=True)
    unknown = [code for code in used.tolist() if code not in table]
    if unknown:
        row, column = np.argwhere(codes == unknown[0])[0].tolist()
        red, green, blue = rgb[row, column].tolist()
        raise HypercolumnsError(
            f"{path} has colours that are not in the palette ({len(unknown)} in all), for example ({red}, {green}, "
            f"{blue}) at row {row}, column {column}; an RGB mask must hold the classes' colours exactly: correct these "
            f"colours, or save the mask with class indices instead of colours"
        )
    return np.array([table[code] for code in used.tolist()], np.uint8)[inverse].reshape(rgb.shape[:2])


def _code(colour: Colour) -> int:
    return colour[0] << 16 | colour[1] << 8 | colour[2]
