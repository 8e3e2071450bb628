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
# Pillow's names of the PNG pixel layouts that are accepted for masks. Grey with fewer than 8 bits is excluded: programs
# disagree whether the value 1 of 15 means label 1 or grey level 17 of 255.
MASK_MODES = ("P", "P;1", "P;2", "P;4", "L", "I;16B", "RGB")
CLIPPED_MODES = ("LA;16B",)  # a PNG layout with 16 bits, which Pillow reads as mode LA with 8 bits
FORMATS = ("JPEG", "PNG", "BMP", "TIFF", "WEBP")  # a file's contents decide, not its name; no other decoder runs
MASK_FORMATS = ("PNG",)  # other formats can change labels
BAD_PATH_ERRORS = (  # caused by an invalid path, or by contents that make a decoder seek to an invalid offset
    errno.ENAMETOOLONG,
    errno.ELOOP,
    errno.EINVAL,
)
SIDEWAYS = (5, 6, 7, 8)  # EXIF orientations that swap height and width
MAX_PIXELS_VARIABLE = "HYPERCOLUMNS_MAX_PIXELS"  # an environment variable, because child processes inherit it
SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp")


def set_max_pixels(max_pixels: int) -> None:
    """Limit the number of pixels of each image that this process, or a process that it starts from now on, reads.

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
        size: the (height, width) of the image's mask, for `as_rgb`; None without a mask.

    Raises:
        HypercolumnsError: if the file is missing, can't be decoded completely or has too many pixels.
    """
    with _opened(path, FORMATS) as image:
        return torch.from_numpy(np.array(as_rgb(image, path, size))).permute(2, 0, 1)


def as_rgb(image: Image.Image, name: object, size: PixelShape | None = None) -> Image.Image:
    """Convert an image to RGB: apply the EXIF rotation and blend transparent pixels over white.

    Some annotation tools ignore EXIF. The rotation is therefore not applied if the mask has the image's size before the
    rotation, but not its size after the rotation. RGB images with 16 bits per channel keep the higher 8 bits.

    Args:
        image: the image. An image from a file must not be decoded yet.
        name: the image's name, for messages.
        size: the (height, width) of the image's mask; None without a mask.

    Returns:
        The image in mode RGB.

    Raises:
        HypercolumnsError: if the pixel format is not supported, such as grey with more than 8 bits, whose value range
            is unknown.
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

    Palette files, and grey files with 8 or 16 bits, contain the indices themselves. RGB files contain the colours of
    `palette`, and VOC's colour for void.

    Args:
        path: the file.
        palette: the colours of the classes, for RGB files.
        classes: the number of classes.

    Returns:
        (H, W) uint8 class indices, 255 for void.

    Raises:
        HypercolumnsError: if the file is not such a PNG or can't be decoded, a colour is not in the palette, or a label
            is neither a class nor void.
    """
    with _opened(path, MASK_FORMATS) as image:
        image.verify()  # checks the checksums, which Pillow ignores when it decodes
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
    """Read an image and its mask.

    Args:
        image: the image file.
        mask: the mask file.
        palette: the colours of the classes, for RGB masks.
        classes: the number of classes.

    Returns:
        The image (3, H, W) uint8 and the class indices (H, W) uint8.

    Raises:
        HypercolumnsError: if a file can't be used, or if the image and the mask have different sizes.
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
    """Read the (height, width) of a mask from the file's header alone.

    Raises:
        HypercolumnsError: if the header shows that the file can't be used as a mask.
    """
    with _opened(path, MASK_FORMATS) as image:
        _check_mask_kind(image, path)
        return image.height, image.width


def image_size(path: Path, size: PixelShape | None = None) -> PixelShape:
    """Read the (height, width) of an image from the file's header alone.

    Args:
        path: the file.
        size: the (height, width) of the image's mask; None without a mask.

    Returns:
        The size after the EXIF rotation if this is the mask's size, and the size before the rotation is not; else the
        size before the rotation.

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
    """Write class indices as a palette PNG, atomically.

    Args:
        path: the file.
        labels: (H, W) uint8 class indices, 255 for void.
        palette: the colours of the classes.
    """
    image = Image.fromarray(labels)
    image.putpalette([value for colour in colour_table(palette) for value in colour])
    write_image(path, image)


def write_image(path: Path, image: Image.Image, quality: int = 75) -> None:
    """Write an image file atomically, in the format that the suffix of its name stands for.

    Args:
        path: the file.
        image: the image.
        quality: the quality of a JPEG file, up to 95; a PNG file is the same at any quality.
    """
    with atomic_write(path) as temporary:
        image.save(temporary, format=Image.registered_extensions()[path.suffix.lower()], quality=quality)


def encode_png(picture: NDArray[np.uint8]) -> bytes:
    """Encode a picture (H, W, 3) uint8 as the contents of a PNG file, with light and therefore fast compression."""
    file = io.BytesIO()
    Image.fromarray(picture).save(file, format="PNG", compress_level=1)
    return file.getvalue()


@contextmanager
def _opened(path: Path, formats: tuple[str, ...]) -> Iterator[ImageFile.ImageFile]:
    """Open an image file and read its header.

    Yields:
        The image; its pixels are not decoded yet.

    Raises:
        HypercolumnsError: if the file is missing, has none of the formats or too many pixels, or if decoding it inside
            the `with` block fails.
        UnreadableError: if the operating system can't read the file.
    """
    max_pixels = Image.MAX_IMAGE_PIXELS
    too_large = (
        f"than max_pixels={max_pixels}: it could fill the memory; scale the image down, or set max_pixels higher if "
        f"the size is correct"
    )
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # reading a pipe could block forever
            raise HypercolumnsError(f"{path} is not a file; replace it by an image or leave it out")
        with Image.open(path, formats=formats) as image:
            # Pillow itself raises only above twice the limit
            if max_pixels is not None and image.width * image.height > max_pixels:
                raise HypercolumnsError(f"{path} claims {image.width}x{image.height} pixels, more {too_large}")
            yield image
    except (HypercolumnsError, MemoryError):
        raise
    except (FileNotFoundError, NotADirectoryError):
        leads = f" is a link to {os.readlink(path)}, which" if path.is_symlink() else ""
        raise HypercolumnsError(f"{path}{leads} does not exist; add the file or leave it out") from None
    except UnidentifiedImageError:
        fault = "not an image in a supported format ({})".format(", ".join(formats)) if path.stat().st_size else "empty"
        raise HypercolumnsError(f"{path} is {fault}; replace it or leave it out") from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        claimed = re.search(r"\d+", str(error))  # the first number in Pillow's message is the number of pixels
        raise HypercolumnsError(
            f"{path} claims {claimed[0] if claimed else 'too many'} pixels, more {too_large}"
        ) from None
    except Exception as error:  # decoders can raise anything
        if isinstance(error, OSError) and error.errno is not None and error.errno not in BAD_PATH_ERRORS:
            raise UnreadableError(
                f"{path} can't be read ({error.strerror}), but may be a valid file: make it readable, or repair the "
                f"disk or the machine, and run the command again"
            ) from error
        raise HypercolumnsError(f"{path} can't be decoded ({error}); replace it or leave it out") from error


def _check_kind(image: Image.Image, name: object) -> None:
    """Raise HypercolumnsError if an image has an unsupported pixel format; an image file must not be decoded yet."""
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
            f"colours of the classes (8-bit RGB), but the pixel format of this file is {kind}; convert it"
        )


def _kind(image: Image.Image) -> str:
    """Return Pillow's name of the pixel layout in an undecoded PNG file; for another image, some other description."""
    return str(image.tile[0].args) if isinstance(image, ImageFile.ImageFile) and image.tile else image.mode


def _indices(rgb: NDArray[np.uint8], palette: Sequence[Colour], path: Path) -> NDArray[np.uint8]:
    """Map colours (H, W, 3) uint8 to class indices (H, W) uint8.

    Args:
        rgb: the colours.
        palette: the colours of the classes.
        path: the mask file, for the message.

    Raises:
        HypercolumnsError: if a colour is not in the palette.
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
            f"{path}: {len(unknown)} of its colours are not in the palette, such as ({red}, {green}, {blue}) at row "
            f"{row}, column {column}; an RGB mask must hold the classes' colours exactly: correct it or save class "
            f"indices instead"
        )
    return np.array([table[code] for code in used.tolist()], np.uint8)[inverse].reshape(rgb.shape[:2])


def _code(colour: Colour) -> int:
    return colour[0] << 16 | colour[1] << 8 | colour[2]
