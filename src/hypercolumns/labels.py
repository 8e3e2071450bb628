"""Label maps: the index of void, the classes' colours, and where labels change."""

from collections.abc import Sequence
from unicodedata import category

import numpy as np
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

CONTROL_CATEGORIES = ("Cc", "Cs", "Zl", "Zp")  # kinds of characters: control, half ones, ends of lines
IGNORE_INDEX = 255  # the label of pixels that belong to no class
Colour = tuple[int, int, int]
Palette = tuple[Colour, ...]


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


VOID_COLOUR: Colour = voc_palette(256)[IGNORE_INDEX]


def is_class_name(name: object) -> bool:
    """Whether it is a name that can stand in a line of text: no control character, which a terminal would obey."""
    return isinstance(name, str) and bool(name.strip()) and not any(category(one) in CONTROL_CATEGORIES for one in name)


def colour_table(palette: Sequence[Colour]) -> NDArray[np.uint8]:
    """The colour of each of the 256 labels, (256, 3) uint8 RGB; void has VOC's."""
    table = np.zeros((256, 3), np.uint8)
    table[: len(palette)] = palette
    table[IGNORE_INDEX] = VOID_COLOUR
    return table


def colourise(labels: NDArray[np.uint8], palette: Sequence[Colour]) -> NDArray[np.uint8]:
    """(H, W) class indices to (H, W, 3) uint8 RGB."""
    return colour_table(palette)[labels]


def overlay(
    image: NDArray[np.uint8], labels: NDArray[np.uint8], palette: Sequence[Colour], opacity: float = 0.5
) -> NDArray[np.uint8]:
    """The classes' colours, with that opacity in [0, 1], over an RGB image (H, W, 3) uint8."""
    below, above = (Image.fromarray(np.ascontiguousarray(part)) for part in (image, colourise(labels, palette)))
    return np.asarray(Image.blend(below, above, opacity))  # by Pillow, which holds no floats for all pixels


def boundary_band(mask: Tensor, width: int) -> Tensor:
    """The pixels (H, W) bool within `width` pixels, diagonals included, of one with another label; void is a label too.

    It is the trimap of Kohli et al., Robust Higher Order Potentials (IJCV 2009), that boundaries are judged in.
    """
    labels, width = mask[None].float(), min(width, max(mask.shape))
    tall, wide = (2 * width + 1, 1), (1, 2 * width + 1)
    highest, lowest = (
        sign * F.max_pool2d(F.max_pool2d(sign * labels, tall, 1, (width, 0)), wide, 1, (0, width)) for sign in (1, -1)
    )
    return (highest != lowest)[0]
