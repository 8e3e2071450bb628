"""Draw images side by side with their true labels, predicted labels and errors, and with a legend."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from hypercolumns.errors import escape_control_chars
from hypercolumns.labels import IGNORE_INDEX, VOID_COLOUR, Colour, Palette, overlay
from hypercolumns.visualization.overlays import FONT_SIZE, GAP, LINE, Font, legend, shown_channels, stack

Pixels = NDArray[np.uint8]
NEAREST = Image.Resampling.NEAREST

PANEL_SIDE = 400  # maximum width and height of a picture, in pixels; smaller images are magnified by an integer factor
MAX_HELD = 1_000_000  # pixels of an image that `shrink` returns unchanged
TITLES = ("image", "truth", "prediction", "errors")
OPACITY = 0.6  # of the class colours over the image
FADED = 0.35  # opacity of the grey image behind the errors, over white
WRONG: Colour = (226, 30, 30)  # of pixels with a wrong label


@dataclass(frozen=True)
class LabelledImage:
    """An image with its true and predicted labels, for `panels`.

    Attributes:
        image: (N, H, W) uint8. Its first three channels are shown as red, green and blue. None: the picture of the
            image is left out, and the labels are drawn over white.
        truth: (H, W) integer, true class indices, 255 for void.
        predicted: (H, W) integer, predicted class indices. None: the pictures of the prediction and of the errors are
            left out.
        caption: the line of text above the image's pictures.
    """

    image: Tensor | None
    truth: Tensor
    predicted: Tensor | None
    caption: str


def evenly_spaced(count: int, chosen: int) -> list[int]:
    """Choose `chosen` evenly spaced integers from 0 to count - 1, for example to pick images of a split.

    Returns:
        The integers in ascending order. The first is 0 and the last is count - 1. If `chosen` is 1, the only integer is
        0. If `chosen` is larger than `count`, all integers from 0 to count - 1.
    """
    chosen = min(chosen, count)
    return [round(number * (count - 1) / max(chosen - 1, 1)) for number in range(chosen)]


def panels(
    rows: Iterable[LabelledImage], classes: Sequence[str], palette: Palette, columns: int = 4, side: int = PANEL_SIDE
) -> Image.Image:
    """Draw four pictures of each image: the image, its true labels, its predicted labels, and the errors.

    Each image's caption is above its pictures. If `LabelledImage.image` is None, the first picture is left out. A
    legend at the bottom names all classes in the true or predicted labels.

    Args:
        rows: the images, at least one, in order from top to bottom. Only one of them is in memory at a time.
        classes: the names of the classes, in the order of the class indices.
        palette: the colour of each class, in the same order.
        columns: the maximum number of pictures side by side. If an image has more pictures, they continue on the next
            line.
        side: the maximum width and height of a picture, in pixels.

    Returns:
        An RGB picture.
    """
    font = ImageFont.load_default(FONT_SIZE)
    blocks, present = [], set[int]()
    for row in rows:
        # A caption can contain a file name, and a file name can contain line breaks.
        blocks.append(draw_block(replace(row, caption=escape_control_chars(row.caption)), palette, columns, side, font))
        for part in (row.truth, row.predicted):
            present |= set() if part is None else set(np.unique(part.numpy()).tolist())
        del row  # frees the memory before the next image is read
    entries = [(classes[index], palette[index]) for index in sorted(present) if index != IGNORE_INDEX]
    width = max(block.width for block in blocks)
    key = legend([*entries, ("void", VOID_COLOUR), ("error", WRONG)], width)
    return stack([*blocks, key], width)


def draw_block(labelled: LabelledImage, palette: Palette, columns: int, side: int, font: Font) -> Image.Image:
    """Draw the caption of one image, and below it the image's pictures with their titles.

    Args:
        labelled: the image and its labels.
        palette: the colour of each class, in the order of the class indices.
        columns: the maximum number of pictures side by side.
        side: the maximum width and height of a picture, in pixels.
        font: the font of the caption and of the titles.

    Returns:
        An RGB picture.
    """
    pictures = _pictures(labelled, palette, side)
    titles = TITLES[labelled.image is None : 2 if labelled.predicted is None else None]
    titled = list(zip(pictures, titles, strict=True))
    column = max(pictures[0].width, *(math.ceil(font.getlength(title)) for _, title in titled)) + GAP
    width = max(GAP + column * min(columns, len(pictures)), math.ceil(font.getlength(labelled.caption)) + 2 * GAP)
    lines = []
    for start in range(0, len(titled), columns):
        line = Image.new("RGB", (width, LINE + pictures[0].height + GAP), "white")
        for number, (picture, title) in enumerate(titled[start : start + columns]):
            left = GAP + number * column
            ImageDraw.Draw(line).text((left, LINE // 2), title, (110, 110, 110), font, anchor="lm")
            line.paste(picture, (left, LINE))
        lines.append(line)
    caption = Image.new("RGB", (width, LINE), "white")
    ImageDraw.Draw(caption).text((GAP, LINE // 2), labelled.caption, "black", font, anchor="lm")
    return stack([caption, *lines], width)


def shrink(labelled: LabelledImage, side: int) -> LabelledImage:
    """Return a large image in the size in which `panels` draws it, so that many can be held; a small image unchanged.

    Args:
        labelled: the image and its labels.
        side: the maximum width and height of a picture, in pixels.
    """
    height, width = labelled.truth.shape
    if height * width <= MAX_HELD or max(height, width) <= side:
        return labelled
    size = _size(height, width, side)
    image = labelled.image
    if image is not None:
        picture = Image.fromarray(np.ascontiguousarray(shown_channels(image).permute(1, 2, 0).numpy()))
        pixels = np.asarray(picture.resize(size, Image.Resampling.BICUBIC))
        image = torch.from_numpy(pixels.copy()).permute(2, 0, 1)
    labels = [
        None if part is None else torch.from_numpy(_resized(part, size).copy())
        for part in (labelled.truth, labelled.predicted)
    ]
    assert labels[0] is not None, "there are true labels"
    return LabelledImage(image, labels[0], labels[1], labelled.caption)


def _size(height: int, width: int, side: int) -> tuple[int, int]:
    """Return the (width, height) in which an image is drawn."""
    scale = side / max(height, width)
    if scale >= 1:
        return width * int(scale), height * int(scale)
    return max(round(width * scale), 1), max(round(height * scale), 1)


def _pictures(labelled: LabelledImage, palette: Palette, side: int) -> list[Image.Image]:
    height, width = labelled.truth.shape
    size = _size(height, width, side)
    truth = _resized(labelled.truth, size)
    pixels = np.full((*truth.shape, 3), 255, np.uint8)
    if labelled.image is not None:
        picture = Image.fromarray(np.ascontiguousarray(shown_channels(labelled.image).permute(1, 2, 0).numpy()))
        pixels = np.asarray(picture.resize(size, NEAREST if max(height, width) <= side else Image.Resampling.BICUBIC))
    void = (truth == IGNORE_INDEX)[..., None]
    marked = np.where(void, VOID_COLOUR, overlay(pixels, truth, palette, OPACITY))
    pictures = [pixels, marked]
    if labelled.predicted is not None:
        predicted = _resized(labelled.predicted, size)
        pictures += [overlay(pixels, predicted, palette, OPACITY), _errors(pixels, truth, predicted)]
    return [Image.fromarray(part.astype(np.uint8)) for part in pictures][labelled.image is None :]


def _resized(labels: Tensor, size: tuple[int, int]) -> Pixels:
    """Return labels (H, W) as uint8 in another size, (width, height)."""
    return np.asarray(Image.fromarray(labels.numpy().astype(np.uint8)).resize(size, NEAREST))


def _errors(pixels: Pixels, truth: Pixels, predicted: Pixels) -> Pixels:
    """Draw an image in pale grey, its wrongly labelled pixels in `WRONG`, and its void pixels in `VOID_COLOUR`.

    Args:
        pixels: (H, W, 3) uint8 RGB, the image.
        truth: (H, W), the true labels, 255 for void. Void pixels are never wrong.
        predicted: (H, W), the predicted labels.

    Returns:
        (H, W, 3) uint8 RGB.
    """
    grey = pixels.mean(-1, keepdims=True) * FADED + 255 * (1 - FADED)
    errors = np.where((truth == IGNORE_INDEX)[..., None], VOID_COLOUR, grey.repeat(3, -1))
    wrong = (truth != predicted) & (truth != IGNORE_INDEX)
    errors[wrong] = WRONG
    return errors.astype(np.uint8)
