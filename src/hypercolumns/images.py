"""Images, masks and palettes: reading, colouring, writing."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from hypercolumns.errors import HypercolumnsError
from hypercolumns.files import replacing

VOID = 255  # the label of pixels that belong to no class
Colour = tuple[int, int, int]
Palette = tuple[Colour, ...]
MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr")  # Pillow's, of 8 bits a channel
SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp")


def voc_palette(classes: int) -> Palette:
    """Pascal VOC's colours of the class indices 0 to classes - 1: the bits of the index, spread over R, G and B."""
    palette = []
    for index in range(classes):
        colour = [0, 0, 0]
        for bit in range(8):
            for channel in range(3):
                colour[channel] |= ((index >> (3 * bit + channel)) & 1) << (7 - bit)
        palette.append((colour[0], colour[1], colour[2]))
    return tuple(palette)


VOID_COLOUR: Colour = voc_palette(256)[VOID]


def read_image(path: Path) -> Tensor:
    """An image file as (3, H, W) uint8 RGB, upright by its EXIF orientation.

    Raises HypercolumnsError if it is missing or can't be decoded as a whole.
    """
    return torch.from_numpy(np.array(as_rgb(_open(path), path))).permute(2, 0, 1)


def as_rgb(image: Image.Image, name: object) -> Image.Image:
    """An image in RGB, upright by its EXIF orientation; raises HypercolumnsError for one of more than 8 bits."""
    if image.mode not in MODES:
        raise HypercolumnsError(
            f"{name} is of a kind that is not read ({image.mode}), such as of more than 8 bits a channel; convert it "
            f"to 8-bit RGB or grey"
        )
    try:
        upright = ImageOps.exif_transpose(image)
    except Exception:  # Pillow's, of damaged EXIF data: then it is as it lies, to which everybody else shows it
        upright = image
    return upright.convert("RGB")


def read_mask(path: Path, palette: Sequence[Colour], classes: int) -> Tensor:
    """A mask file as (H, W) uint8 class indices, 255 for void.

    Palette and grey files hold the indices; an RGB file holds the colours of `palette` (and VOC's colour of void).
    Raises HypercolumnsError for any other kind of file, a colour that is not in the palette, a label that is neither
    a class nor void.
    """
    image = _open(path)
    if image.mode in ("P", "L"):
        labels = np.array(image)
    elif image.mode == "RGB":
        labels = _indices(np.array(image), palette, path)
    else:
        raise HypercolumnsError(
            f"{path}: a mask must be a palette or grey image of class indices, or RGB in the palette's colours; "
            f"this one is {image.mode}: convert it"
        )
    outside = np.setdiff1d(labels, [*range(classes), VOID])
    if outside.size:
        count = int(np.isin(labels, outside).sum())
        raise HypercolumnsError(
            f"{path}: {count} pixels have labels that are no class ({', '.join(map(str, outside[:5]))}); expected "
            f"0 to {classes - 1}, or {VOID} for void: correct the mask or name all classes by data.classes"
        )
    return torch.from_numpy(labels)


def write_mask(path: Path, labels: NDArray[np.uint8], palette: Sequence[Colour]) -> None:
    """Write (H, W) uint8 class indices as a palette PNG, whole or not at all."""
    image = Image.fromarray(labels)
    image.putpalette([value for colour in _colour_table(palette) for value in colour])
    write_image(path, image)


def write_image(path: Path, image: Image.Image, quality: int = 75) -> None:
    """Write an image file in the format of its suffix, whole or not at all; `quality` is that of a JPEG, up to 95."""
    with replacing(path) as temporary:
        image.save(temporary, format=Image.registered_extensions()[path.suffix.lower()], quality=quality)


def colour(labels: NDArray[np.uint8], palette: Sequence[Colour]) -> NDArray[np.uint8]:
    """(H, W) class indices to (H, W, 3) uint8 RGB."""
    return _colour_table(palette)[labels]


def overlay(
    image: NDArray[np.uint8], labels: NDArray[np.uint8], palette: Sequence[Colour], opacity: float = 0.5
) -> NDArray[np.uint8]:
    """The classes' colours, with that opacity in [0, 1], over an RGB image (H, W, 3) uint8."""
    below, above = (Image.fromarray(np.ascontiguousarray(part)) for part in (image, colour(labels, palette)))
    return np.asarray(Image.blend(below, above, opacity))  # by Pillow, which holds no floats for all pixels


def _colour_table(palette: Sequence[Colour]) -> NDArray[np.uint8]:
    table = np.zeros((256, 3), np.uint8)
    table[: len(palette)] = palette
    table[VOID] = VOID_COLOUR
    return table


def _open(path: Path) -> Image.Image:
    try:
        with Image.open(path) as image:
            image.load()
            return image
    except FileNotFoundError:
        raise HypercolumnsError(f"{path} does not exist") from None
    except UnidentifiedImageError:
        raise HypercolumnsError(f"{path} is not an image that can be read; replace it or take it out") from None
    except Exception as error:  # decoders raise anything
        raise HypercolumnsError(f"{path} can't be decoded ({error}); replace it or take it out") from error


def _indices(rgb: NDArray[np.uint8], palette: Sequence[Colour], path: Path) -> NDArray[np.uint8]:
    """(H, W, 3) colours to (H, W) class indices."""
    codes = rgb.astype(np.int64) @ np.array([1 << 16, 1 << 8, 1])
    table = {_code(colour): index for index, colour in reversed(list(enumerate(palette)))}
    table.setdefault(_code(VOID_COLOUR), VOID)
    found, inverse = np.unique(codes, return_inverse=True)
    unknown = [code for code in found.tolist() if code not in table]
    if unknown:
        red, green, blue = unknown[0] >> 16, unknown[0] >> 8 & 255, unknown[0] & 255
        raise HypercolumnsError(
            f"{path}: {len(unknown)} of its colours are not in the palette, such as ({red}, {green}, {blue}); an RGB "
            f"mask must hold the classes' colours exactly: correct it or save class indices instead"
        )
    return np.array([table[code] for code in found.tolist()], np.uint8)[inverse].reshape(rgb.shape[:2])


def _code(colour: Colour) -> int:
    return colour[0] << 16 | colour[1] << 8 | colour[2]
