"""An image under the colours of its classes, and the legend that names them."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from hypercolumns.errors import escape_control_chars
from hypercolumns.labels import IGNORE_INDEX, Colour, Palette, overlay

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont

FONT_SIZE = 15  # pixels; a legend's measures are in proportion
GAP = 6  # between pictures, and around what a legend says
LINE = 22  # height of a line of text
MIN_WIDTH = 160  # a legend of few pixels could not be read
PARTS = 48  # of an image's longer side, at most, is the text beneath it high


def overlay_with_legend(
    image: NDArray[np.uint8],
    labels: NDArray[np.uint8],
    classes: Sequence[str] | None,
    palette: Palette,
    opacity: float = 0.5,
) -> Image.Image:
    """An RGB image (H, W, 3) uint8 under the colours of its labels (H, W), above the names of those that occur.

    Without `classes` there are no names, and the picture is of the image's own size.
    """
    picture = Image.fromarray(overlay(image, labels, palette, opacity))
    if classes is None:
        return picture
    present = [index for index in np.flatnonzero(np.bincount(labels.ravel())).tolist() if index != IGNORE_INDEX]
    scale = max(max(picture.size) / PARTS / FONT_SIZE, 1.0)
    key = legend([(classes[index], palette[index]) for index in present], max(picture.width, MIN_WIDTH), scale)
    return stack([picture, key], key.width)


def legend(entries: Sequence[tuple[str, Colour]], width: int, scale: float = 1.0) -> Image.Image:
    """Names beside their colours, in as many lines as the width asks for; `scale` magnifies text and all."""
    square, gap, line = (round(length * scale) for length in (FONT_SIZE, GAP, LINE))
    font = ImageFont.load_default(square)
    entries = [(escape_control_chars(name), colour) for name, colour in entries]  # a name may hold line breaks
    positions, left, row = [], gap, 0
    for name, _ in entries:
        needed = square + gap + int(font.getlength(name)) + 2 * gap
        if left > gap and left + needed > width:
            left, row = gap, row + 1
        positions.append((left, row * line))
        left += needed
    picture = Image.new("RGB", (width, (row + 1) * line + gap), "white")
    brush = ImageDraw.Draw(picture)
    edge = round(3 * scale)
    for (name, colour), (x, y) in zip(entries, positions, strict=True):
        brush.rectangle([x, y + edge, x + square, y + edge + square], colour, "black")
        brush.text((x + square + gap, y + line // 2), name, "black", font, anchor="lm")
    return picture


def stack(pictures: Sequence[Image.Image], width: int) -> Image.Image:
    """One above the other, on white."""
    canvas = Image.new("RGB", (width, sum(picture.height for picture in pictures)), "white")
    top = 0
    for picture in pictures:
        canvas.paste(picture, (0, top))
        top += picture.height
    return canvas
