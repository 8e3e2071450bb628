"""Draw class colours over an image, and a legend that names the classes."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from hypercolumns.errors import escape_control_chars
from hypercolumns.labels import IGNORE_INDEX, Colour, Palette, overlay

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont

# Lengths in pixels.
FONT_SIZE = 15
GAP = 6  # between pictures, and around the text of a legend
LINE = 22  # height of a line of text
MIN_WIDTH = 160  # of a picture with a legend: a narrower legend would be hard to read
# A legend's font size is 1/PARTS of the image's longer side, but at most 1/SHORT_PARTS of its shorter side, because the
# legend of a strip would be many times larger than the strip otherwise. It is at least FONT_SIZE.
PARTS, SHORT_PARTS = 48, 6


def shown_channels(image: Tensor) -> Tensor:
    """Return the channels of an image (N, H, W) that a picture shows as red, green and blue: the first three.

    Of two channels, the second is shown as green and blue.
    """
    return image if len(image) == 3 else image[[min(number, len(image) - 1) for number in range(3)]]


def overlay_with_legend(
    image: NDArray[np.uint8],
    labels: NDArray[np.uint8],
    classes: Sequence[str] | None,
    palette: Palette,
    opacity: float = 0.5,
    max_side: int | None = None,
) -> Image.Image:
    """Draw the class colours over an image, and add a legend of the classes that occur in the labels.

    Args:
        image: (H, W, 3) uint8 RGB.
        labels: (H, W) uint8, class indices, 255 for void.
        classes: the names of all classes, in the order of the class indices. None: no legend.
        palette: the colour of each class, in the same order.
        opacity: the opacity of the class colours, from 0 (only the image is visible) to 1.
        max_side: the maximum width and height of the picture, in pixels, to which it is shrunk; None: no maximum.

    Returns:
        An RGB picture. Without a legend, it has the size of the image, unless it is shrunk. With a legend, it is taller
        than the image and at least `MIN_WIDTH` pixels wide.
    """
    picture = Image.fromarray(overlay(image, labels, palette, opacity))
    if max_side is not None and max(picture.size) > max_side:  # before the legend, which is legible then
        picture.thumbnail((max_side, max_side))
    if classes is None:
        return picture
    present = [index for index in np.flatnonzero(np.bincount(labels.ravel())).tolist() if index != IGNORE_INDEX]
    font_size = min(max(picture.size) / PARTS, min(picture.size) / SHORT_PARTS)
    scale = max(font_size / FONT_SIZE, 1.0)
    key = legend([(classes[index], palette[index]) for index in present], max(picture.width, MIN_WIDTH), scale)
    stacked = stack([picture, key], key.width)
    if max_side is not None and max(stacked.size) > max_side:
        stacked.thumbnail((max_side, max_side))
    return stacked


def legend(entries: Sequence[tuple[str, Colour]], width: int, scale: float = 1.0) -> Image.Image:
    """Draw a legend: names, each to the right of a square in its colour, wrapped into lines.

    Args:
        entries: the (name, colour) pairs, in the order of drawing.
        width: the width of the picture, in pixels.
        scale: the factor that magnifies the text, the squares and the spacing. At 1, the font size is `FONT_SIZE`.

    Returns:
        An RGB picture. Its height depends on the number of lines.
    """
    square, gap, line = (round(length * scale) for length in (FONT_SIZE, GAP, LINE))
    font = ImageFont.load_default(square)
    # A name can contain unprintable characters.
    entries = [(escape_control_chars(name), colour) for name, colour in entries]
    positions, left, row = [], gap, 0
    for name, _ in entries:
        length = square + gap + int(font.getlength(name)) + 2 * gap
        if left > gap and left + length > width:
            left, row = gap, row + 1
        positions.append((left, row * line))
        left += length
    picture = Image.new("RGB", (width, (row + 1) * line + gap), "white")
    brush = ImageDraw.Draw(picture)
    edge = round(3 * scale)
    for (name, colour), (x, y) in zip(entries, positions, strict=True):
        brush.rectangle([x, y + edge, x + square, y + edge + square], colour, "black")
        brush.text((x + square + gap, y + line // 2), name, "black", font, anchor="lm")
    return picture


def stack(pictures: Sequence[Image.Image], width: int) -> Image.Image:
    """Stack pictures vertically, flush left, on a white RGB canvas that is `width` pixels wide."""
    canvas = Image.new("RGB", (width, sum(picture.height for picture in pictures)), "white")
    top = 0
    for picture in pictures:
        canvas.paste(picture, (0, top))
        top += picture.height
    return canvas
