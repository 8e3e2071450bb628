"""Read and write image files."""

import errno
import io
import os
import re
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageFile, ImageOps, UnidentifiedImageError
from torch import Tensor

from hypercolumns.errors import HypercolumnsError, UnreadableError, check_int
from hypercolumns.io import tiff
from hypercolumns.io.decoding import AS_STORED, ImageDecoding
from hypercolumns.io.file_kinds import START, find_kind
from hypercolumns.io.files import atomic_write
from hypercolumns.io.pixel_layout import PixelLayout
from hypercolumns.io.pixels import is_deep_png, pillow_layout, pillow_values, read_deep_png
from hypercolumns.io.tiff_tags import is_tiff

PixelShape = tuple[int, ...]  # (height, width), or () for a file that can't be used
ANIMATED = ("PNG", "WEBP")  # formats whose further frames are pictures of their own; those of a JPEG are previews
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


def read_image(path: Path, size: PixelShape | None = None, decoding: ImageDecoding = AS_STORED) -> Tensor:
    """Read an image file as RGB (3, H, W) uint8, or with the channels that `decoding` chooses.

    Args:
        path: the file.
        size: the (height, width) of the image's mask. It decides whether the EXIF rotation is applied, see
            `decode_image`.
            None: there is no mask, and the rotation is applied.
        decoding: the rules that turn the stored pixels into RGB or into other channels.

    Returns:
        (N, H, W) uint8, with N = `decoding.image_channels`.

    Raises:
        HypercolumnsError: if the file is missing, can't be decoded completely, has more pixels than `set_max_pixels`
            allows, has an unsupported pixel format, or needs other rules.
    """
    with opened_file(path, FORMATS) as file:
        if is_tiff(start_of(file)):
            pixels = _read_tiff(file, path, size, decoding)
        else:
            with Image.open(file, formats=FORMATS) as image:
                _check_pixels(path, image.width * image.height, f"{image.width}x{image.height}")
                _choose_frame(image, path, decoding)
                pixels = decode_image(image, path, size, decoding)
    return torch.from_numpy(pixels).permute(2, 0, 1)


def decode_image(
    image: Image.Image, name: object, size: PixelShape | None = None, decoding: ImageDecoding = AS_STORED
) -> NDArray[np.uint8]:
    """Convert an image to RGB or to other channels: apply the EXIF rotation, and blend transparent pixels over white.

    Some annotation tools ignore EXIF, so their masks fit the image before the rotation. The rotation is therefore not
    applied if it changes (height, width) and the mask has the size before the rotation. Damaged EXIF data is ignored.

    Args:
        image: the image. If it comes from a file, it must not be decoded yet, see `pillow_layout`.
        name: the image's name, for messages.
        size: the (height, width) of the image's mask. None: there is no mask.
        decoding: the rules that turn the stored pixels into RGB or into other channels.

    Returns:
        (H, W, N) uint8, with N = `decoding.image_channels`.

    Raises:
        HypercolumnsError: if the pixel format is not supported, or needs other rules.
    """
    layout = pillow_layout(image, name)
    decoding.check(layout, name)
    if is_deep_png(image):
        pixels = decoding.decode(read_deep_png(image, name), layout, name)
        image.load()  # EXIF data can follow the pixels
        channels = [Image.fromarray(channel) for channel in np.moveaxis(pixels, -1, 0)]
        for channel in channels if "exif" in image.info else ():
            channel.info["exif"] = image.info["exif"]
        return np.stack([np.array(_turned(channel, size)) for channel in channels], axis=-1)
    image.load()
    upright = _turned(image, size)
    if decoding.maps(layout) or decoding.channels is not None:
        return decoding.decode(pillow_values(upright, layout), layout, name)
    if upright.has_transparency_data:
        coloured = upright.convert("RGBA")
        upright = Image.alpha_composite(Image.new("RGBA", coloured.size, "white"), coloured)
    return np.array(upright.convert("RGB"))


def image_size(path: Path, size: PixelShape | None = None, decoding: ImageDecoding = AS_STORED) -> PixelShape:
    """Read the (height, width) of an image from the header of its file, without decoding the image.

    Args:
        path: the file.
        size: the (height, width) of the image's mask. None: there is no mask.
        decoding: the rules that turn the stored pixels into RGB.

    Returns:
        The size before the EXIF rotation. One case is an exception: if the rotation changes the size, and the mask has
        the size after the rotation, the size after the rotation is returned.

    Raises:
        HypercolumnsError: if the header shows that the file can't be used as an image, or needs other rules.
    """
    with opened_file(path, FORMATS) as file:
        if is_tiff(start_of(file)):
            page = tiff_pages(file, path, decoding)[0][0]
            stored, orientation = page.size, page.orientation
        else:
            with Image.open(file, formats=FORMATS) as image:
                _check_pixels(path, image.width * image.height, f"{image.width}x{image.height}")
                _choose_frame(image, path, decoding, only_check=True)
                decoding.check(pillow_layout(image, path), path)
                stored, orientation = (image.height, image.width), 1
                if stored != size and stored[::-1] == size:
                    orientation = image.getexif().get(ExifTags.Base.Orientation, 1)
    turned = size is not None and stored != size and stored[::-1] == size and orientation in SIDEWAYS
    return stored[::-1] if turned else stored


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
    """Open an image file by Pillow and read its header.

    Yields:
        The image; its pixels are not decoded yet.

    Raises:
        HypercolumnsError: if the file is missing, is in none of `formats`, or has too many pixels, or if the `with`
            block fails to decode the file.
        UnreadableError: if the operating system can't read the file.
    """
    # Given a path, Pillow 13 maps an uncompressed TIFF into memory, and then mixes up its rows if the TIFF is turned.
    with opened_file(path, formats) as file, Image.open(file, formats=formats) as image:
        _check_pixels(path, image.width * image.height, f"{image.width}x{image.height}")
        yield image


@contextmanager
def opened_file(path: Path, formats: tuple[str, ...]) -> Iterator[BinaryIO]:
    """Open a file that should hold an image, and turn all errors of the `with` block into one clear error.

    Args:
        path: the file.
        formats: the supported image formats, for the message.

    Yields:
        The open file.

    Raises:
        HypercolumnsError: if the file is missing, or if the `with` block fails to decode it.
        UnreadableError: if the operating system can't read the file.
    """
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # reading a pipe could block forever
            raise HypercolumnsError(f"{path} is not a file; replace it by an image or leave it out of the data")
        with path.open("rb") as file:
            yield file
    except (HypercolumnsError, MemoryError):
        raise
    except (FileNotFoundError, NotADirectoryError):
        leads = f" is a link to {os.readlink(path)}, which" if path.is_symlink() else ""
        raise HypercolumnsError(f"{path}{leads} does not exist; add the file or leave it out of the data") from None
    except UnidentifiedImageError:
        raise HypercolumnsError(_not_an_image(path, formats)) from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        claimed = re.search(r"\d+", str(error))  # the first number in Pillow's message is the number of pixels
        raise HypercolumnsError(_too_large(path, claimed[0] if claimed else "too many")) from None
    except Exception as error:  # decoders can raise anything
        if isinstance(error, OSError) and error.errno is not None and error.errno not in BAD_PATH_ERRORS:
            raise UnreadableError(
                f"{path} can't be read ({error.strerror}), but may be a valid file: make it readable, or repair the "
                f"disk or the machine, and run the command again"
            ) from error
        raise HypercolumnsError(f"{path} can't be decoded ({error}); replace it or leave it out of the data") from error


def start_of(file: BinaryIO) -> bytes:
    """Return the first four bytes of a file, and go back to its beginning."""
    start = file.read(4)
    file.seek(0)
    return start


def _not_an_image(path: Path, formats: tuple[str, ...]) -> str:
    """Return the message about a file in none of the supported formats, which says what the file is if it is known."""
    with path.open("rb") as file:
        start = file.read(START)
    kind = find_kind(start)
    supported = "not an image in a supported format ({})".format(", ".join(formats)) if start else "empty"
    if kind is None:
        return f"{path} is {supported}; replace it or leave it out of the data"
    return f"{path} is {kind.name}, {supported}; {kind.advice}"


def _check_pixels(path: Path, pixels: int, shown: str) -> None:
    """Raise HypercolumnsError if an image has too many pixels; Pillow itself raises only above twice the limit."""
    if Image.MAX_IMAGE_PIXELS is not None and pixels > Image.MAX_IMAGE_PIXELS:
        raise HypercolumnsError(_too_large(path, shown))


def _too_large(path: Path, shown: str) -> str:
    return (
        f"{path} has {shown} pixels, more than max_pixels={Image.MAX_IMAGE_PIXELS}: the decoded image could fill the "
        f"memory; scale the image down, or set max_pixels higher if the size is correct"
    )


def tiff_pages(file: BinaryIO, path: Path, decoding: ImageDecoding) -> tuple[list[tiff.TiffPage], PixelLayout]:
    """Read the header of a TIFF, and choose and check the pages that form the image.

    Args:
        file: the open file.
        path: its path, for messages.
        decoding: the rules that choose the pages.

    Returns:
        See `tiff.choose_pages`.

    Raises:
        HypercolumnsError: if the rules do not choose, or if the pages can't be read.
    """
    pages, layout = tiff.choose_pages(tiff.read_pages(file, decoding.channels is not None), decoding, path)
    for (height, width), part in ((pages[0].tile, "a tile of "), (pages[0].size, "")):
        _check_pixels(path, height * width, f"{part}{width}x{height}")
    weight = layout.channels * np.dtype(layout.dtype).itemsize / tiff.BYTES_PER_PIXEL
    _check_pixels(path, int(height * width * weight), f"{layout.channels} channels of {width}x{height}")
    return pages, layout


def _read_tiff(file: BinaryIO, path: Path, size: PixelShape | None, decoding: ImageDecoding) -> NDArray[np.uint8]:
    """Read a TIFF as (H, W, N), and turn it upright unless only the unturned image fits its mask."""
    pages, layout = tiff_pages(file, path, decoding)
    page = pages[0]
    mapped = decoding.maps(layout)
    if page.by_pillow and len(pages) == 1 and not mapped and decoding.channels is None:
        upright = _pillow_page(file, page, lambda image: decode_image(image, path))
    else:
        channels = [tiff_values(file, part) for part in pages]
        if mapped:
            channels = [tiff.hide_no_data(part, page) for part in channels]
        values = channels[0] if len(channels) == 1 else np.concatenate(channels, axis=-1)
        upright = tiff.turn(decoding.decode(values, layout, path), page.orientation)
    if size is not None and upright.shape[:2] != size == page.size:
        upright = tiff.turn_back(upright, page.orientation)
    return np.ascontiguousarray(upright)


def tiff_values(file: BinaryIO, page: tiff.TiffPage) -> NDArray[Any]:
    """Read the pixels (H, W, C) of a page of a TIFF, unturned."""
    if not page.by_pillow:
        return tiff.read_stored(file, page)
    turned = _pillow_page(file, page, lambda image: pillow_values(image, page.layout))
    return tiff.turn_back(turned, page.orientation)


def _pillow_page(file: BinaryIO, page: tiff.TiffPage, convert: Callable[[Image.Image], NDArray[Any]]) -> NDArray[Any]:
    """Return what `convert` makes of a page that Pillow decodes, which turns it upright by itself."""
    file.seek(0)
    with Image.open(file, formats=("TIFF",)) as image:
        image.seek(page.number)
        return convert(image)


def _choose_frame(image: ImageFile.ImageFile, path: Path, decoding: ImageDecoding, only_check: bool = False) -> None:
    """Go to the frame of an image, unless `only_check`, and raise HypercolumnsError if `decoding` chooses none."""
    frames = getattr(image, "n_frames", 1) if image.format in ANIMATED else 1
    if frames > 1 or decoding.page is not None:
        frame = tiff.number_of_page(frames, decoding, path)
        if frames > 1 and not only_check:
            image.seek(frame)


def _turned(image: Image.Image, size: PixelShape | None) -> Image.Image:
    """Apply the EXIF rotation of a decoded image, unless only the unturned image has the (height, width) `size`."""
    try:
        upright = ImageOps.exif_transpose(image)
    except MemoryError:
        raise
    except Exception:  # Pillow fails on damaged EXIF data; other programs show such an image unrotated
        upright = image
    only_stored_fits = size is not None and (upright.height, upright.width) != size == (image.height, image.width)
    return image if only_stored_fits else upright
