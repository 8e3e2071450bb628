"""A picture of a data set: some images of each class with their labels, and a legend with the share of each class."""

from collections.abc import Sequence
from pathlib import Path

import torch
from PIL import Image, ImageFont
from PIL.PngImagePlugin import PngInfo

from hypercolumns.data import DatasetIndex, ImageMaskPair
from hypercolumns.data.index import pair_signature, read_example
from hypercolumns.data.labelling import class_pixels
from hypercolumns.data.mask_survey import Survey
from hypercolumns.errors import HypercolumnsError
from hypercolumns.io.files import atomic_write, short_hash
from hypercolumns.labels import IGNORE_INDEX, VOID_COLOUR
from hypercolumns.visualization.overlays import FONT_SIZE, legend, stack
from hypercolumns.visualization.panels import LabelledImage, draw_block, shrink

PREVIEW = "preview.png"
STAMP = "Source"  # the text entry of the PNG file that says what the picture shows
MAX_IMAGES = 12
PER_LINE = 2  # images side by side, each with its labels
SIDE = 240  # maximum width and height of an image in the picture, in pixels


def write_preview(images: DatasetIndex, survey: Survey, folder: Path) -> Path | None:
    """Draw `folder`/preview.png, unless it shows the same masks already.

    Args:
        images: the data set.
        survey: the summary of each mask.
        folder: the folder of the picture.

    Returns:
        The path of the picture if it was drawn; None if it is up to date, or if no image can be drawn.
    """
    path = folder / PREVIEW
    files = [[split, pair.id, pair_signature(pair)] for split, pairs in images.splits.items() for pair in pairs]
    stamp = short_hash([images.scheme.fingerprint(), images.decoding.settings(), files])
    if _stamp(path) == stamp:
        return None
    rows = []
    for split, pair, note in choose_images(images, survey):
        try:
            image, mask = read_example(pair, images.scheme, images.decoding)
        except HypercolumnsError:  # the check of the files reports it
            continue
        rows.append(shrink(LabelledImage(image, mask, None, f"{split}: {pair.id} ({note})"), SIDE))
    if not rows:
        return None
    info = PngInfo()
    info.add_text(STAMP, stamp)
    picture = draw_preview(rows, images, survey)
    try:
        with atomic_write(path) as temporary:
            picture.save(temporary, format="PNG", pnginfo=info, compress_level=1)
    except HypercolumnsError:  # the stage itself says that the folder can't be written, and loses nothing
        return None
    return path


def choose_images(images: DatasetIndex, survey: Survey) -> list[tuple[str, ImageMaskPair, str]]:
    """Choose images that show all classes: for each class that none of them shows yet, the image that has most of it.

    Returns:
        At most 12 images: the split, the files, and the class for which the image was chosen.
    """
    pairs = [(split, pair) for split, of in images.splits.items() for pair in of if pair.mask in survey]
    counts = [class_pixels(survey[pair.mask], images.scheme) for _, pair in pairs]
    shares = [
        {index: count / sum(pixels.values()) for index, count in pixels.items() if index >= 0} for pixels in counts
    ]
    frequency = {
        index: sum(index in share for share in shares) for index in [*range(len(images.classes)), IGNORE_INDEX]
    }
    chosen: dict[int, str] = {}
    for index in sorted((index for index in frequency if frequency[index]), key=lambda index: frequency[index]):
        shown = max((shares[number].get(index, 0.0) for number in chosen), default=0.0)
        best = max(range(len(pairs)), key=lambda number: shares[number].get(index, 0.0))
        if shown < shares[best][index] / 2 and len(chosen) < MAX_IMAGES:
            chosen.setdefault(best, "void" if index == IGNORE_INDEX else images.classes[index])
    return [(*pairs[number], name) for number, name in chosen.items()]


def draw_preview(rows: Sequence[LabelledImage], images: DatasetIndex, survey: Survey) -> Image.Image:
    """Draw images next to their labels, and below them the name, index, colour and share of all classes.

    Args:
        rows: the images, at least one.
        images: the data set, which gives the classes and their colours.
        survey: the summary of each mask, which gives the shares.

    Returns:
        An RGB picture.
    """
    font = ImageFont.load_default(FONT_SIZE)
    blocks = [draw_block(row, images.palette, 2, SIDE, font) for row in rows]
    column = max(block.width for block in blocks)
    lines = []
    for start in range(0, len(blocks), PER_LINE):
        beside = blocks[start : start + PER_LINE]
        line = Image.new("RGB", (column * PER_LINE, max(block.height for block in beside)), "white")
        for number, block in enumerate(beside):
            line.paste(block, (number * column, 0))
        lines.append(line)
    pixels = torch.zeros(IGNORE_INDEX + 1, dtype=torch.int64)
    for summary in survey.values():
        for index, count in class_pixels(summary, images.scheme).items():
            pixels[index] += count if index >= 0 else 0
    labelled, everything = max(int(pixels[:IGNORE_INDEX].sum()), 1), max(int(pixels.sum()), 1)
    entries = [
        (f"{index} {name} {int(pixels[index]) / labelled:.1%}", images.palette[index])
        for index, name in enumerate(images.classes)
    ]
    entries.append((f"void {int(pixels[IGNORE_INDEX]) / everything:.1%} of all pixels", VOID_COLOUR))
    return stack([*lines, legend(entries, column * PER_LINE)], column * PER_LINE)


def _stamp(path: Path) -> str | None:
    """Return what an existing picture shows; None if there is none."""
    try:
        with Image.open(path, formats=("PNG",)) as image:
            return image.info.get(STAMP)
    except (OSError, ValueError, SyntaxError):
        return None
