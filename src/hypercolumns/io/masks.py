"""Read and write masks, which hold the true or the predicted class of each pixel of an image."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from hypercolumns.errors import HypercolumnsError
from hypercolumns.io.decoding import AS_STORED, ImageDecoding
from hypercolumns.io.images import PixelShape, opened_image, read_image, write_image
from hypercolumns.io.mask_source import Mask, MaskPixels
from hypercolumns.io.pixels import pixel_format
from hypercolumns.labels import Colour, LabelScheme, Palette, colour_code, colour_table

# Pillow's names of the PNG pixel layouts that are accepted for masks, and the number of bits of a value. Grey with 2 or
# 4 bits is excluded: some programs take the value 1 for label 1, others for the grey level 1 / 15, which is label 17 of
# 255.
PNG_BITS = {"P": 8, "P;1": 1, "P;2": 2, "P;4": 4, "L": 8, "1": 1, "I;16B": 16, "RGB": 8, "RGBA": 8}
OTHER_BITS = {
    "1": 1,
    "P": 8,
    "L": 8,
    "I;16": 16,
    "I;16B": 16,
    "RGB": 8,
}  # Pillow's modes of masks in TIFF and BMP files
MASK_FORMATS = ("PNG", "TIFF", "BMP")  # files in other formats can hold changed labels, for example after compression
LOSSY_COMPRESSIONS = ("jpeg", "tiff_jpeg", "webp")  # of TIFF files
MAX_COLOURS = 1000  # a summary holds the most frequent colours; a photograph has many more


def read_mask(mask: Mask, scheme: LabelScheme) -> Tensor:
    """Read a mask as class indices.

    Args:
        mask: the file, or the source that draws the mask.
        scheme: the rule that turns the mask's values or colours into class indices.

    Returns:
        (H, W) uint8 class indices, 255 for void.

    Raises:
        HypercolumnsError: if the file can't be used as a mask or can't be decoded, or if a value or colour is not in
            the scheme.
    """
    values, palette, _ = decode_mask(mask)
    if values.ndim == 3 and scheme.rgb_by_value:
        values = _grey_values(values, mask)
    elif palette and scheme.palette_by_colour:
        if values.max() >= len(palette):
            raise HypercolumnsError(f"{mask}: the index {values.max()} has no colour in the file's palette")
        values = np.array(palette, np.uint8)[values]
    labels = _by_colour(values, scheme, mask) if values.ndim == 3 else _by_value(values, scheme, mask)
    return torch.from_numpy(labels)


def _grey_values(rgb: NDArray[np.uint8] | NDArray[np.uint16], mask: Mask) -> NDArray[np.uint8] | NDArray[np.uint16]:
    """Return the values (H, W) of an RGB mask (H, W, 3) with three equal channels.

    Raises:
        HypercolumnsError: if the channels differ.
    """
    differ = (rgb != rgb[..., :1]).any(-1)
    if differ.any():
        row, column = np.argwhere(differ)[0].tolist()
        raise HypercolumnsError(
            f"{mask}: RGB masks are read by the values of their three equal channels, but the channels of this file "
            f"differ at row {row}, column {column}: {tuple(rgb[row, column].tolist())}; save the mask like the others"
        )
    return rgb[..., 0]


def decode_mask(mask: Mask) -> MaskPixels:
    """Decode a mask file or draw a mask, without turning its pixels into class indices.

    Raises:
        HypercolumnsError: if the file is not a mask in a supported format or can't be decoded completely, or if the
            mask can't be drawn.
    """
    return _decode_file(mask) if isinstance(mask, Path) else mask.decode()


def _decode_file(path: Path) -> MaskPixels:
    with opened_image(path, MASK_FORMATS) as image:
        if image.format == "PNG":
            image.verify()  # compares the file with its checksums, which Pillow ignores when it decodes
    with opened_image(path, MASK_FORMATS) as image:
        bits = _bits(image, path)
        image.load()
    if image.mode == "RGBA":
        if np.asarray(image.getchannel("A")).min() < 255:
            raise HypercolumnsError(f"{path}: a mask must not have transparent pixels; save it without transparency")
        return MaskPixels(np.array(image.convert("RGB")), (), bits)
    palette: Palette = ()
    if image.mode == "P":
        channels = iter(image.getpalette("RGB") or [])
        palette = tuple(zip(channels, channels, channels, strict=False))
    values = np.array(image)
    return MaskPixels(values.astype(np.uint8) if image.mode == "1" else values, palette, bits)


def read_pair(
    image: Path, mask: Mask, scheme: LabelScheme, decoding: ImageDecoding = AS_STORED
) -> tuple[Tensor, Tensor]:
    """Read an image and its mask.

    Args:
        image: the image file.
        mask: the mask.
        scheme: the rule that turns the mask's values or colours into class indices.
        decoding: the rules that turn the stored pixels of the image into RGB.

    Returns:
        The image (3, H, W) uint8 and the class indices (H, W) uint8.

    Raises:
        HypercolumnsError: if one of the two files can't be used, or if the image and the mask have different sizes.
    """
    labels = read_mask(mask, scheme)
    pixels = read_image(image, labels.shape, decoding)
    check_sizes(image, pixels.shape[1:], mask, labels.shape)
    return pixels, labels


def check_sizes(image: Path, image_size: PixelShape, mask: Mask, mask_size: PixelShape) -> None:
    """Check that an image and its mask have the same size.

    Args:
        image: the image file.
        image_size: the image's (height, width).
        mask: the mask.
        mask_size: the mask's (height, width).

    Raises:
        HypercolumnsError: if the image and the mask have different sizes.
    """
    if tuple(image_size) != tuple(mask_size):
        raise HypercolumnsError(
            f"{mask} is {mask_size[1]}x{mask_size[0]}, but its image {image} is {image_size[1]}x{image_size[0]}; both "
            f"must have the same size"
        )


def mask_size(mask: Mask) -> PixelShape:
    """Read the (height, width) of a mask from the header of its file or from its source, without decoding the mask.

    Raises:
        HypercolumnsError: if the header shows that the file can't be used as a mask, or the source can't draw it.
    """
    return _file_size(mask) if isinstance(mask, Path) else mask.size()


def _file_size(path: Path) -> PixelShape:
    with opened_image(path, MASK_FORMATS) as image:
        _bits(image, path)
        return image.height, image.width


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


def _bits(image: Image.Image, path: Path) -> int:
    """Check that the header of a mask file is supported, and return the number of bits of a value.

    Raises:
        HypercolumnsError: if the pixel format is not supported, if the pixels are compressed with loss, or if the file
            has several pages.
    """
    kind, known = (pixel_format(image), PNG_BITS) if image.format == "PNG" else (image.mode, OTHER_BITS)
    if kind not in known:
        raise HypercolumnsError(
            f"{path}: a mask must hold class indices (palette, or grey with 8 or 16 bits) or the colours of the "
            f"classes (8-bit RGB), but the pixel format of this file is {kind}; convert the file"
        )
    if image.info.get("compression") in LOSSY_COMPRESSIONS:
        raise HypercolumnsError(f"{path} is compressed with loss, which changes labels; save the mask as PNG")
    pages = getattr(image, "n_frames", 1)
    if pages > 1:
        raise HypercolumnsError(f"{path} has {pages} pages, but a mask has one; save each mask as a file of its own")
    return known[kind]


def _by_value(values: NDArray[np.uint8] | NDArray[np.uint16], scheme: LabelScheme, mask: Mask) -> NDArray[np.uint8]:
    """Turn the values of a mask into class indices.

    Args:
        values: (H, W), the values of the mask.
        scheme: gives the class index of each value.
        mask: the mask, for the message.

    Returns:
        (H, W) uint8 class indices, 255 for void.

    Raises:
        HypercolumnsError: if a value is not in the scheme.
    """
    table = np.full(np.iinfo(values.dtype).max + 1, -1, np.int16)
    for value, index in scheme.values.items():
        if value < len(table):
            table[value] = index
    labels = table[values]
    unknown = labels < 0
    if unknown.any():
        outside = np.unique(values[unknown])
        raise HypercolumnsError(
            f"{mask}: {int(unknown.sum())} pixels have labels that are not a class "
            f"({', '.join(map(str, outside[:5]))}); the classes and void have the labels "
            f"{format_values(scheme.values)}: correct the mask, or list all classes in the text file that data.classes "
            f"names"
        )
    return labels.astype(np.uint8)


def _by_colour(rgb: NDArray[np.uint8] | NDArray[np.uint16], scheme: LabelScheme, mask: Mask) -> NDArray[np.uint8]:
    """Turn the colours of an RGB mask into class indices.

    Args:
        rgb: (H, W, 3), the colours of the mask.
        scheme: gives the class index of each colour.
        mask: the mask, for the message.

    Returns:
        (H, W) uint8 class indices, 255 for void.

    Raises:
        HypercolumnsError: if a colour is not in the scheme.
    """
    codes = colour_codes(rgb)
    known = sorted(scheme.codes.items())
    known_codes, indices = np.array([code for code, _ in known], np.int32), np.array([index for _, index in known])
    place = np.searchsorted(known_codes, codes).clip(max=len(known) - 1)
    unknown = known_codes[place] != codes
    if unknown.any():
        row, column = np.argwhere(unknown)[0].tolist()
        red, green, blue = rgb[row, column].tolist()
        raise HypercolumnsError(
            f"{mask} has colours that are not in the palette ({len(np.unique(codes[unknown]))} in all), for example "
            f"({red}, {green}, {blue}) at row {row}, column {column}; an RGB mask must hold the classes' colours "
            f"exactly: correct these colours, or save the mask with class indices instead of colours"
        )
    labels: NDArray[np.uint8] = indices.astype(np.uint8)[place]
    return labels


def colour_codes(rgb: NDArray[np.uint8] | NDArray[np.uint16]) -> NDArray[np.int32]:
    """Return colours (H, W, 3) as numbers (H, W): red * 65536 + green * 256 + blue."""
    codes: NDArray[np.int32] = rgb.astype(np.int32) @ np.array([1 << 16, 1 << 8, 1], np.int32)
    return codes


def format_values(values: Iterable[int]) -> str:
    """Format integers as ranges, as in "0 to 18, 255"."""
    ranges: list[list[int]] = []
    for value in sorted(values):
        if ranges and value == ranges[-1][1] + 1:
            ranges[-1][1] = value
        else:
            ranges.append([value, value])
    return ", ".join(str(first) if first == last else f"{first} to {last}" for first, last in ranges)


class MaskSummary(NamedTuple):
    """What a mask holds, without the places of its pixels.

    Attributes:
        kind: `grey`, `palette` or `rgb`; `grey` also for a mask that a source draws.
        bits: the number of bits of a value in the file.
        counts: the number of pixels of each value of a grey or palette file, or of each colour of an RGB file. A colour
            is a number: red * 65536 + green * 256 + blue.
        colours: the colour of each value that a palette file uses, as such a number.
    """

    kind: str
    bits: int
    counts: dict[int, int]
    colours: dict[int, int]


def summarise_mask(mask: Mask) -> MaskSummary:
    """Count the pixels of each value or colour of a mask.

    Raises:
        HypercolumnsError: if the mask can't be used, see `decode_mask`.
    """
    values, palette, bits = decode_mask(mask)
    if values.ndim == 3:
        codes, counts = np.unique(colour_codes(values), return_counts=True)
        most = counts.argsort(kind="stable")[::-1][:MAX_COLOURS]
        return MaskSummary("rgb", bits, dict(zip(codes[most].tolist(), counts[most].tolist(), strict=True)), {})
    by_value = np.bincount(values.ravel())
    used = by_value.nonzero()[0].tolist()
    counted = {value: int(by_value[value]) for value in used}
    colours = {value: colour_code(palette[value]) for value in used if value < len(palette)}
    return MaskSummary("palette" if palette else "grey", bits, counted, colours)
