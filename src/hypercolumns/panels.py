"""Pictures of what a model makes of images: image, truth, prediction and errors side by side, with a legend."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from hypercolumns.images import VOID, VOID_COLOUR, Colour, Palette, overlay

Pixels = NDArray[np.uint8]
Font = ImageFont.FreeTypeFont | ImageFont.ImageFont

SIDE = 400  # of a picture, in pixels, at most; small images are magnified by a whole number
TITLES = ("image", "truth", "prediction", "errors")
GAP = 6  # between pictures
FONT_SIZE = 15
LINE = 22  # height of a line of text
OPACITY = 0.6  # of the classes' colours
FADED = 0.35  # what is left of the image where there is no error
WRONG: Colour = (226, 30, 30)


@dataclass(frozen=True)
class Labelled:
    """An image (3, H, W) uint8, if there is one, its true and its predicted class indices (H, W), and a caption."""

    image: Tensor | None
    truth: Tensor
    predicted: Tensor
    caption: str


def panels(rows: Sequence[Labelled], classes: Sequence[str], palette: Palette) -> Image.Image:
    """A picture of some images, one a row under its caption, and a legend of the classes that occur in them."""
    font = ImageFont.load_default(FONT_SIZE)
    drawn = [_row(row, palette) for row in rows]
    width = max(sum(_column(picture, title, font) for picture, title in _titled(row)) + GAP for row in drawn)
    width = max(width, *(int(font.getlength(row.caption)) + 2 * GAP for row in rows))
    present = np.unique(np.concatenate([part.numpy().ravel() for row in rows for part in (row.truth, row.predicted)]))
    names = [(classes[index], palette[index]) for index in present.tolist() if index != VOID]
    legend = _legend([*names, ("void", VOID_COLOUR), ("error", WRONG)], width, font)
    height = sum(row[0].height + 2 * LINE + GAP for row in drawn) + legend.height
    canvas = Image.new("RGB", (width, height), "white")
    brush, top = ImageDraw.Draw(canvas), 0
    for labelled, row in zip(rows, drawn, strict=True):
        brush.text((GAP, top + LINE // 2), labelled.caption, "black", font, anchor="lm")
        left = GAP
        for picture, title in _titled(row):
            brush.text((left, top + LINE + LINE // 2), title, (110, 110, 110), font, anchor="lm")
            canvas.paste(picture, (left, top + 2 * LINE))
            left += _column(picture, title, font)
        top += row[0].height + 2 * LINE + GAP
    canvas.paste(legend, (0, top))
    return canvas


def _titled(row: Sequence[Image.Image]) -> list[tuple[Image.Image, str]]:
    return list(zip(row, TITLES[-len(row) :], strict=True))


def _column(picture: Image.Image, title: str, font: Font) -> int:
    """The width that a picture and its title take up."""
    return max(picture.width, math.ceil(font.getlength(title))) + GAP


def _row(labelled: Labelled, palette: Palette) -> list[Image.Image]:
    height, width = labelled.truth.shape
    scale = SIDE / max(height, width)
    size = (max(round(width * scale), 1), max(round(height * scale), 1))
    if scale >= 1:
        size = (width * int(scale), height * int(scale))
    truth, predicted = (
        np.asarray(Image.fromarray(part.numpy().astype(np.uint8)).resize(size, Image.Resampling.NEAREST))
        for part in (labelled.truth, labelled.predicted)
    )
    pixels = np.full((*truth.shape, 3), 255, np.uint8)
    if labelled.image is not None:
        picture = Image.fromarray(np.ascontiguousarray(labelled.image.permute(1, 2, 0).numpy()))
        pixels = np.asarray(picture.resize(size, Image.Resampling.NEAREST if scale >= 1 else Image.Resampling.BICUBIC))
    void = (truth == VOID)[..., None]
    marked = np.where(void, VOID_COLOUR, overlay(pixels, truth, palette, OPACITY))
    pictures = pixels, marked, overlay(pixels, predicted, palette, OPACITY), _errors(pixels, truth, predicted)
    return [Image.fromarray(part.astype(np.uint8)) for part in pictures][labelled.image is None :]


def _errors(pixels: Pixels, truth: Pixels, predicted: Pixels) -> Pixels:
    """The image in faded grey, void in its colour, and what is wrong in red."""
    grey = pixels.mean(-1, keepdims=True) * FADED + 255 * (1 - FADED)
    errors = np.where((truth == VOID)[..., None], VOID_COLOUR, grey.repeat(3, -1))
    wrong = (truth != predicted) & (truth != VOID)
    errors[wrong] = WRONG
    return errors.astype(np.uint8)


def _legend(entries: Sequence[tuple[str, Colour]], width: int, font: Font) -> Image.Image:
    """Names beside their colours, in as many lines as the width asks for."""
    square = FONT_SIZE
    places, left, line = [], GAP, 0
    for name, _ in entries:
        needed = square + GAP + int(font.getlength(name)) + 2 * GAP
        if left > GAP and left + needed > width:
            left, line = GAP, line + 1
        places.append((left, line * LINE))
        left += needed
    legend = Image.new("RGB", (width, (line + 1) * LINE + GAP), "white")
    brush = ImageDraw.Draw(legend)
    for (name, of_class), (x, y) in zip(entries, places, strict=True):
        brush.rectangle([x, y + 3, x + square, y + 3 + square], of_class, "black")
        brush.text((x + square + GAP, y + LINE // 2), name, "black", font, anchor="lm")
    return legend
