"""The stored pixels of images that Pillow opens, in the depth of the file."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile

from hypercolumns.errors import HypercolumnsError
from hypercolumns.io.pixel_layout import PixelLayout

MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr")  # Pillow's modes with at most 8 bits per channel
DEEP_MODES = {"I;16": "uint16", "I;16B": "uint16", "I;16L": "uint16", "I;16N": "uint16", "I": "int32", "F": "float32"}
# Pillow's names of the PNG pixel layouts with 16 bits, and their numbers of channels.
DEEP_PNG = {"I;16B": 1, "LA;16B": 2, "RGB;16B": 3, "RGBA;16B": 4}
# The unpackers of Pillow that together give all bytes of these layouts. An unpacker for numbers with the lower byte
# first takes the second byte as the higher one, but in a PNG, the second byte is the lower one.
RAW_MODES = {
    "I;16B": ("I;16B",),
    "LA;16B": ("RGBA",),
    "RGB;16B": ("RGB;16B", "RGB;16L"),
    "RGBA;16B": ("RGBA;16B", "RGBA;16L"),
}
OPAQUE = np.iinfo(np.uint16).max
EXTRA_SAMPLES = 338  # number of the TIFF tag that says whether a further channel is transparency (1 or 2)


def pixel_format(image: Image.Image) -> str:
    """Return a text that describes the pixel format of an image.

    If the image is a file that is not decoded yet, the text is what Pillow passes to the decoder. For a PNG, this is
    the pixel layout in the file, such as `P;4`. If the image is decoded already, or does not come from a file, the text
    is the image's Pillow mode, such as `RGB`.
    """
    return str(image.tile[0].args) if isinstance(image, ImageFile.ImageFile) and image.tile else image.mode


def pillow_layout(image: Image.Image, name: object) -> PixelLayout:
    """Describe the stored pixels of an image.

    If the image comes from a file, it must not be decoded yet: a decoded image no longer holds the pixel layout of the
    file. `name` is the image's name, for the message.

    Raises:
        HypercolumnsError: if the pixel format is not supported.
    """
    source = f"a {image.format}" if image.format else "an image"
    if is_deep_png(image):
        channels = DEEP_PNG[pixel_format(image)]
        channels += "transparency" in image.info and channels in (1, 3)
        return PixelLayout(source, channels, "uint16", 16, "straight" if channels in (2, 4) else "")
    if image.mode in DEEP_MODES:
        dtype = DEEP_MODES[image.mode]
        return PixelLayout(source, 1, dtype, int(dtype[-2:]))
    if image.mode not in MODES:
        raise HypercolumnsError(
            f"{name} has an unsupported pixel format ({image.mode}); convert it to RGB or grey with 8 bits per channel"
        )
    channels = len(_shown_mode(image))
    # Pillow also takes a fourth channel of a TIFF for transparency if no tag says what it is.
    known = image.format != "TIFF" or getattr(image, "tag_v2", {}).get(EXTRA_SAMPLES) in ((1,), (2,))
    return PixelLayout(source, channels, alpha="straight" if known and channels in (2, 4) else "")


def pillow_values(image: Image.Image, layout: PixelLayout) -> NDArray[Any]:
    """Return the pixels (H, W, C) of a decoded image, as `pillow_layout` describes them."""
    values = np.array(image if image.mode in DEEP_MODES else image.convert(_shown_mode(image)))
    return values.astype(layout.dtype).reshape(*values.shape[:2], layout.channels)


def is_deep_png(image: Image.Image) -> bool:
    """Return whether an image is a PNG file with 16 bits per value that is not decoded yet."""
    return image.format == "PNG" and pixel_format(image) in DEEP_PNG and bool(getattr(image, "tile", ()))


def read_deep_png(image: Image.Image, name: object) -> NDArray[np.uint16]:
    """Read the pixels of a PNG with 16 bits per value, see `is_deep_png`.

    Returns:
        (H, W, C) uint16. If the file names a transparent colour, the last channel is the opacity of each pixel.

    Raises:
        HypercolumnsError: if the file is animated.
    """
    if getattr(image, "n_frames", 1) > 1:
        raise HypercolumnsError(f"{name} is an animated PNG with 16 bits, which can't be read; save it as a TIFF")
    parts = [_decoded(image, rawmode) for rawmode in RAW_MODES[pixel_format(image)]]
    if len(parts) == 2:  # the higher and the lower bytes of the values
        values = parts[0].astype(np.uint16) << 8 | parts[1]
    else:
        values = np.ascontiguousarray(parts[0]).view(">u2") if parts[0].dtype == np.uint8 else parts[0]
    values = values.reshape(image.height, image.width, -1)
    clear = image.info.get("transparency")
    if clear is not None and values.shape[-1] in (1, 3):
        opaque = (values != np.array(clear, np.uint16)).any(axis=-1, keepdims=True)
        values = np.concatenate([values, np.where(opaque, OPAQUE, 0).astype(np.uint16)], axis=-1)
    pixels: NDArray[np.uint16] = values.astype(np.uint16)
    return pixels


def _decoded(image: Image.Image, rawmode: str) -> NDArray[Any]:
    """Decode an opened file once more, with another unpacker of its bytes; see `RAW_MODES`."""
    file: Any = getattr(image, "fp", None)
    file.seek(0)
    with Image.open(file, formats=("PNG",)) as again:
        again.tile = [tile._replace(args=rawmode) for tile in again.tile]
        return np.array(again)


def _shown_mode(image: Image.Image) -> str:
    """Return the Pillow mode L, LA, RGB or RGBA in which an image of 8 bits loses nothing."""
    grey = image.mode in ("1", "L", "LA")
    return ("L" if grey else "RGB") + "A" * image.has_transparency_data
