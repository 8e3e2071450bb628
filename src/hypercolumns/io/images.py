"""Image and mask files: reading and writing."""

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

PixelShape = tuple[int, ...]  # height, width; () of a file that can't be used
MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr")  # Pillow's, of 8 bits a channel
# Pillow's names of how a PNG holds what a mask can be. Grey of fewer than 8 bits is left out: whether 1 of 15 means the
# label 1, or 17 of 255, programs that write it don't agree.
MASK_MODES = ("P", "P;1", "P;2", "P;4", "L", "I;16B", "RGB")
CLIPPED_MODES = ("LA;16B",)  # and of a PNG of which Pillow would read 8 bits of 16, grey in its MODES
FORMATS = ("JPEG", "PNG", "BMP", "TIFF", "WEBP")  # no other decoder sees a file; its contents say which, not its name
MASK_FORMATS = ("PNG",)  # others may lose or change labels
BAD_PATH_ERRORS = (
    errno.ENAMETOOLONG,
    errno.ELOOP,
    errno.EINVAL,
)  # a path that is none; contents that send a decoder nowhere
SIDEWAYS = (5, 6, 7, 8)  # EXIF orientations that exchange height and width
MAX_PIXELS_VARIABLE = "HYPERCOLUMNS_MAX_PIXELS"  # in the environment, which processes that this one starts inherit
SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp")


def set_max_pixels(max_pixels: int) -> None:
    """Refuse images of more pixels than that, here and in processes that are started from now on.

    Raises ArgumentError unless it is a whole number of at least 1.
    """
    check_int("max_pixels", max_pixels, minimum=1)
    os.environ[MAX_PIXELS_VARIABLE] = str(max_pixels)
    Image.MAX_IMAGE_PIXELS = max_pixels


if os.environ.get(MAX_PIXELS_VARIABLE, "").isdecimal():  # as `set_max_pixels` writes it; what else is there is not ours
    Image.MAX_IMAGE_PIXELS = int(os.environ[MAX_PIXELS_VARIABLE])


def read_image(path: Path, size: PixelShape | None = None) -> Tensor:
    """An image file as (3, H, W) uint8 RGB; see `as_rgb` for how it is turned and `size`.

    Raises HypercolumnsError if it is missing, can't be decoded as a whole or has too many pixels.
    """
    with _opened(path, FORMATS) as image:
        return torch.from_numpy(np.array(as_rgb(image, path, size))).permute(2, 0, 1)


def as_rgb(image: Image.Image, name: object, size: PixelShape | None = None) -> Image.Image:
    """An image in RGB, upright by its EXIF orientation; what is transparent lies over white.

    It is left as it lies, unturned, if `size` (height, width), that of its mask, is its size only then: masks are drawn
    by programs that heed EXIF and by others. Of 16 bits a channel in RGB, Pillow gives the higher 8. Raises
    HypercolumnsError for other images of more than 8 bits, for nobody knows what their range means.
    """
    _check_kind(image, name)
    image.load()
    try:
        upright = ImageOps.exif_transpose(image)
    except MemoryError:
        raise
    except Exception:  # Pillow's, of damaged EXIF data: then it is as it lies, to which everybody else shows it
        upright = image
    if size is not None and (upright.height, upright.width) != size == (image.height, image.width):
        upright = image
    if upright.has_transparency_data:
        coloured = upright.convert("RGBA")
        upright = Image.alpha_composite(Image.new("RGBA", coloured.size, "white"), coloured)
    return upright.convert("RGB")


def read_mask(path: Path, palette: Sequence[Colour], classes: int) -> Tensor:
    """A mask, a PNG, as (H, W) uint8 class indices, 255 for void.

    Palette and grey files of 8 or 16 bits hold the indices; an RGB file holds the colours of `palette` (and VOC's
    colour of void). Raises HypercolumnsError for any other kind of file, a colour that is not in the palette, a label
    that is neither a class nor void.
    """
    with _opened(path, MASK_FORMATS) as image:
        image.verify()  # the checksums, which Pillow leaves aside when it decodes
    with _opened(path, MASK_FORMATS) as image:
        _check_mask_kind(image, path)
        image.load()
    labels = _indices(np.array(image), palette, path) if image.mode == "RGB" else np.array(image)
    outside = np.setdiff1d(labels, [*range(classes), IGNORE_INDEX])
    if outside.size:
        count = int(np.isin(labels, outside).sum())
        raise HypercolumnsError(
            f"{path}: {count} pixels have labels that are no class ({', '.join(map(str, outside[:5]))}); expected "
            f"0 to {classes - 1}, or {IGNORE_INDEX} for void: correct the mask, or name all classes"
        )
    return torch.from_numpy(labels.astype(np.uint8, copy=False))


def read_pair(image: Path, mask: Path, palette: Sequence[Colour], classes: int) -> tuple[Tensor, Tensor]:
    """An image (3, H, W) and its mask (H, W), as `read_image` and `read_mask` give them.

    Raises HypercolumnsError also if their sizes differ.
    """
    labels = read_mask(mask, palette, classes)
    pixels = read_image(image, labels.shape)
    check_sizes(image, pixels.shape[1:], mask, labels.shape)
    return pixels, labels


def check_sizes(image: Path, image_size: PixelShape, mask: Path, mask_size: PixelShape) -> None:
    """Raise HypercolumnsError unless an image and its mask have the same size."""
    if tuple(image_size) != tuple(mask_size):
        raise HypercolumnsError(
            f"{mask} is {mask_size[1]}x{mask_size[0]}, its image {image} is {image_size[1]}x{image_size[0]}; they must "
            f"have the same size"
        )


def mask_size(path: Path) -> PixelShape:
    """(height, width) of a mask, by the first bytes of its file alone; raises HypercolumnsError if they are wrong."""
    with _opened(path, MASK_FORMATS) as image:
        _check_mask_kind(image, path)
        return image.height, image.width


def image_size(path: Path, size: PixelShape | None = None) -> PixelShape:
    """(height, width) of an image, likewise; turned by its EXIF orientation only where that makes it `size`."""
    with _opened(path, FORMATS) as image:
        _check_kind(image, path)
        own = image.height, image.width
        if own != size and own[::-1] == size and image.getexif().get(ExifTags.Base.Orientation) in SIDEWAYS:
            return size
        return own


def write_mask(path: Path, labels: NDArray[np.uint8], palette: Sequence[Colour]) -> None:
    """Write (H, W) uint8 class indices as a palette PNG, whole or not at all."""
    image = Image.fromarray(labels)
    image.putpalette([value for colour in colour_table(palette) for value in colour])
    write_image(path, image)


def write_image(path: Path, image: Image.Image, quality: int = 75) -> None:
    """Write an image file in the format of its suffix, whole or not at all; `quality` is that of a JPEG, up to 95."""
    with atomic_write(path) as temporary:
        image.save(temporary, format=Image.registered_extensions()[path.suffix.lower()], quality=quality)


def encode_png(picture: NDArray[np.uint8]) -> bytes:
    """A picture (H, W, 3) as the contents of a PNG file, compressed in a hurry: for looking at."""
    file = io.BytesIO()
    Image.fromarray(picture).save(file, format="PNG", compress_level=1)
    return file.getvalue()


@contextmanager
def _opened(path: Path, formats: tuple[str, ...]) -> Iterator[ImageFile.ImageFile]:
    """A file of one of these formats, its header read; raises HypercolumnsError for it, and for what `load` meets."""
    max_pixels = Image.MAX_IMAGE_PIXELS
    too_large = (
        f"than max_pixels={max_pixels}: they could fill the memory; scale it down, or set max_pixels higher if it is "
        f"right"
    )
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # to read a pipe could take for ever
            raise HypercolumnsError(f"{path} is not a file; replace it or take it out")
        with Image.open(path, formats=formats) as image:
            if max_pixels is not None and image.width * image.height > max_pixels:  # Pillow lets twice as many pass
                raise HypercolumnsError(f"{path} claims {image.width}x{image.height} pixels, more {too_large}")
            yield image
    except (HypercolumnsError, MemoryError):
        raise
    except (FileNotFoundError, NotADirectoryError):
        leads = f" is a link to {os.readlink(path)}, which" if path.is_symlink() else ""
        raise HypercolumnsError(f"{path}{leads} does not exist; put it there or take it out") from None
    except UnidentifiedImageError:
        kind = "is empty" if not path.stat().st_size else f"is not an image that can be read ({', '.join(formats)})"
        raise HypercolumnsError(f"{path} {kind}; replace it or take it out") from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        claimed = re.search(r"\d+", str(error))  # the first number that Pillow says
        raise HypercolumnsError(
            f"{path} claims {claimed[0] if claimed else 'too many'} pixels, more {too_large}"
        ) from None
    except Exception as error:  # decoders raise anything
        if isinstance(error, OSError) and error.errno is not None and error.errno not in BAD_PATH_ERRORS:
            raise UnreadableError(
                f"{path} can't be read ({error.strerror}), which need not be its fault: allow it, or mend the disk or "
                f"the machine, and run the command again"
            ) from error
        raise HypercolumnsError(f"{path} can't be decoded ({error}); replace it or take it out") from error


def _check_kind(image: Image.Image, name: object) -> None:
    """Raise HypercolumnsError for an image of a kind that is not read; a file's must not be loaded yet."""
    kind = _kind(image)
    if image.mode not in MODES or kind in CLIPPED_MODES:
        unread = kind if kind in CLIPPED_MODES else image.mode
        raise HypercolumnsError(
            f"{name} is of a kind that is not read ({unread}), such as of more than 8 bits a channel; "
            f"convert it to 8-bit RGB or grey"
        )


def _check_mask_kind(image: Image.Image, path: Path) -> None:
    kind = _kind(image)
    if kind not in MASK_MODES:
        raise HypercolumnsError(
            f"{path}: a mask must be a palette PNG or an 8-bit grey one of class indices, or RGB in the palette's "
            f"colours; this one is {kind}: convert it"
        )


def _kind(image: Image.Image) -> str:
    """How a PNG that is not loaded yet holds its pixels, in Pillow's name; of others something else, or the mode."""
    return str(image.tile[0].args) if isinstance(image, ImageFile.ImageFile) and image.tile else image.mode


def _indices(rgb: NDArray[np.uint8], palette: Sequence[Colour], path: Path) -> NDArray[np.uint8]:
    """(H, W, 3) colours to (H, W) class indices."""
    codes = rgb.astype(np.int64) @ np.array([1 << 16, 1 << 8, 1])
    table = {_code(colour): index for index, colour in reversed(list(enumerate(palette)))}
    table.setdefault(_code(VOID_COLOUR), IGNORE_INDEX)
    found, inverse = np.unique(codes, return_inverse=True)
    unknown = [code for code in found.tolist() if code not in table]
    if unknown:
        row, column = np.argwhere(codes == unknown[0])[0].tolist()
        red, green, blue = rgb[row, column].tolist()
        raise HypercolumnsError(
            f"{path}: {len(unknown)} of its colours are not in the palette, such as ({red}, {green}, {blue}) at row "
            f"{row}, column {column}; an RGB mask must hold the classes' colours exactly: correct it or save class "
            f"indices instead"
        )
    return np.array([table[code] for code in found.tolist()], np.uint8)[inverse].reshape(rgb.shape[:2])


def _code(colour: Colour) -> int:
    return colour[0] << 16 | colour[1] << 8 | colour[2]
