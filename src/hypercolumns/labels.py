"""Label maps: the ignore index, class colours, label boundaries and connected regions."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any
from unicodedata import category

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

# Unicode's categories of characters that a class name must not contain: control characters, surrogates, line
# separators and paragraph separators
CONTROL_CATEGORIES = ("Cc", "Cs", "Zl", "Zp")
IGNORE_INDEX = 255  # the label of void pixels, which belong to no class
# names, in small letters, of the class of pixels without an object; annotation tools have no object for it either
BACKGROUND_NAMES = ("background", "_background_")
MAX_VALUE = 65535  # of a 16-bit mask
BAND_PIXELS = 1 << 20  # pixels of a mask that are compared with their surroundings at a time
SAID = ("encoding_said", "void_said", "own_colours")  # of a `LabelScheme`: these do not decide the index of a pixel
Colour = tuple[int, int, int]  # red, green and blue, from 0 to 255
Palette = tuple[Colour, ...]  # the colour of each class, by class index


def is_background(name: str) -> bool:
    """Whether a class has one of the names that tools give to pixels without an object, such as `_background_`."""
    return name.strip().lower() in BACKGROUND_NAMES


def voc_palette(classes: int) -> Palette:
    """Return Pascal VOC's colours of the class indices from 0 to classes - 1.

    The bits of an index, from the lowest to the highest, go to red, green, blue, red, green and so on. Each channel is
    filled from its highest bit to its lowest.
    """
    palette = []
    for index in range(classes):
        colour = [0, 0, 0]
        for bit in range(8):
            for channel in range(3):
                colour[channel] |= ((index >> (3 * bit + channel)) & 1) << (7 - bit)
        palette.append((colour[0], colour[1], colour[2]))
    return tuple(palette)


def format_colour(colour: Colour) -> str:
    """Format a colour as in "(128, 0, 0)"."""
    return f"({colour[0]}, {colour[1]}, {colour[2]})"


def colour_code(colour: Colour) -> int:
    """Return a colour as a number: red * 65536 + green * 256 + blue."""
    return colour[0] << 16 | colour[1] << 8 | colour[2]


def colour_of_code(code: int) -> Colour:
    """Return the colour of a number that `colour_code` returned."""
    return code >> 16, code >> 8 & 255, code & 255


VOID_COLOUR: Colour = voc_palette(256)[IGNORE_INDEX]


@dataclass(frozen=True)
class LabelScheme:
    """The classes of a data set, and the rule that turns the pixels of a mask file into class indices.

    Attributes:
        classes: the class names, in the order of the class indices.
        palette: the colour in which each class is drawn, in the same order.
        values: the class index of each value in masks that hold values; 255 for void. Other values are refused.
        colours: the class index of each colour in masks that hold colours; 255 for void. Other colours are refused.
        palette_by_colour: whether the pixels of palette files are taken for colours instead of values.
        rgb_by_value: whether the pixels of RGB files, whose channels are then equal, are taken for values instead of
            colours.
        encoding_said: whether the user said the two, so that all later masks are read the same way.
        void_said: whether the user said which values are void.
        own_colours: whether the data set names the colours, so that those of palette files can be compared with them.
    """

    classes: tuple[str, ...]
    palette: Palette
    values: Mapping[int, int]
    colours: Mapping[Colour, int]
    palette_by_colour: bool = False
    rgb_by_value: bool = False
    encoding_said: bool = False
    void_said: bool = False
    own_colours: bool = True

    @classmethod
    def of(cls, classes: Sequence[str], palette: Sequence[Colour] | None = None) -> "LabelScheme":
        """Make the scheme of masks whose values are class indices, and whose colours are those of the classes.

        The value 255 and Pascal VOC's colour for void, (224, 224, 192), are void, unless they belong to a class.

        Args:
            classes: the class names, in the order of the class indices.
            palette: the colour of each class; None: Pascal VOC's colours. If a colour occurs twice, it is that of the
                first class.
        """
        colours = tuple(palette or voc_palette(len(classes)))
        by_colour = {colour: index for index, colour in reversed(list(enumerate(colours)))}
        by_value = {index: index for index in range(len(classes))}
        return cls(
            tuple(classes), colours, {IGNORE_INDEX: IGNORE_INDEX} | by_value, {VOID_COLOUR: IGNORE_INDEX} | by_colour
        )

    @cached_property
    def codes(self) -> dict[int, int]:
        """The class index of each colour in `colours`, by the number of the colour, see `colour_code`."""
        return {colour_code(colour): index for colour, index in self.colours.items()}

    def fingerprint(self) -> dict[str, Any]:
        """Return everything that decides the class index of a pixel, as JSON values."""
        return {
            "classes": list(self.classes),
            "palette": [list(colour) for colour in self.palette],
            "values": sorted([value, index] for value, index in self.values.items()),
            "colours": sorted([list(colour), index] for colour, index in self.colours.items()),
            "palette_by_colour": self.palette_by_colour,
            "rgb_by_value": self.rgb_by_value,
        }

    def mask_rules(self) -> dict[str, Any]:
        """Return the rules for masks as JSON values, from which `of_rules` makes the scheme; {} if they are the usual.

        They are the usual ones, of `LabelScheme.of`, if the values are class indices and the colours those of the
        classes.
        """
        if self == LabelScheme.of(self.classes, self.palette):
            return {}
        rules = self.fingerprint() | {name: getattr(self, name) for name in SAID}
        return {name: rule for name, rule in rules.items() if name not in ("classes", "palette")}

    @classmethod
    def of_rules(cls, classes: Sequence[str], palette: Sequence[Colour], rules: Mapping[str, Any]) -> "LabelScheme":
        """Make a scheme from what `mask_rules` returned.

        Args:
            classes: the class names, in the order of the class indices.
            palette: the colour of each class.
            rules: what `mask_rules` returned.

        Returns:
            The scheme.

        Raises:
            ValueError: if the rules are invalid.
        """
        if not rules:
            return cls.of(classes, palette)
        values = {value: index for value, index in rules["values"]}
        colours = {(red, green, blue): index for (red, green, blue), index in rules["colours"]}
        switches = [rules[name] for name in ("palette_by_colour", "rgb_by_value", *SAID)]
        numbers = [*values, *values.values(), *colours.values(), *(part for colour in colours for part in colour)]
        if any(type(number) is not int or not 0 <= number <= MAX_VALUE for number in numbers):
            raise ValueError(f"the rules for masks have values that are not numbers from 0 to {MAX_VALUE}")
        if not {*values.values(), *colours.values()} <= {*range(len(classes)), IGNORE_INDEX}:
            raise ValueError("the rules for masks have classes that the model does not have")
        if any(type(switch) is not bool for switch in switches):
            raise ValueError("the rules for masks have switches that are neither true nor false")
        return cls(tuple(classes), tuple(palette), values, colours, *switches)


def is_class_name(name: object) -> bool:
    """Whether a value is a valid class name: a string that is not blank and contains no control characters.

    Surrogates, line separators and paragraph separators count as control characters here.
    """
    return isinstance(name, str) and bool(name.strip()) and not any(category(c) in CONTROL_CATEGORIES for c in name)


def colour_table(palette: Sequence[Colour]) -> NDArray[np.uint8]:
    """Return the colour of each label from 0 to 255, (256, 3) uint8 RGB.

    Label 255, void, has the colour that Pascal VOC gives it. Labels that belong to no class are black.
    """
    table = np.zeros((256, 3), np.uint8)
    table[: len(palette)] = palette
    table[IGNORE_INDEX] = VOID_COLOUR
    return table


def colourise(labels: NDArray[np.uint8], palette: Sequence[Colour]) -> NDArray[np.uint8]:
    """Return a picture (H, W, 3) uint8 RGB that shows class indices (H, W) in the colours of `colour_table`."""
    return colour_table(palette)[labels]


def overlay(
    image: NDArray[np.uint8], labels: NDArray[np.uint8], palette: Sequence[Colour], opacity: float = 0.5
) -> NDArray[np.uint8]:
    """Blend the classes' colours over an image.

    Args:
        image: (H, W, 3) uint8 RGB.
        labels: (H, W) uint8 class indices, 255 for void.
        palette: the colour of each class, by class index.
        opacity: the opacity of the colours, from 0 (only the image is visible) to 1 (only the colours are visible).

    Returns:
        The blended picture, (H, W, 3) uint8 RGB.
    """
    below, above = (Image.fromarray(np.ascontiguousarray(part)) for part in (image, colourise(labels, palette)))
    return np.asarray(Image.blend(below, above, opacity))  # Pillow blends without a float array of all pixels


def boundary_band(mask: Tensor, width: int) -> Tensor:
    """Mark the pixels near label boundaries, over which the boundary metrics are measured.

    These pixels are the trimap of Kohli et al., Robust Higher Order Potentials (IJCV 2009).

    Args:
        mask: (H, W) class indices; void counts as a label.
        width: a pixel is marked if a pixel with another label is at most this many steps away. A step leads to one of
            the eight neighbours.

    Returns:
        (H, W) bool, true for the marked pixels.
    """
    height, width = mask.shape[0], min(width, max(mask.shape))
    near = torch.empty(mask.shape, dtype=torch.bool, device=mask.device)
    rows = max(BAND_PIXELS // mask.shape[1], 2 * width)
    for top in range(0, height, rows):
        first, last = max(top - width, 0), min(top + rows + width, height)
        near[top : top + rows] = _differs_nearby(mask[first:last], width)[top - first :][:rows]
    return near


def connected_regions(mask: NDArray[np.uint8]) -> list[NDArray[np.intp]]:
    """Return the 4-connected regions of equal labels in a mask (H, W). Regions of void pixels are left out.

    Each region is the array of its pixels, (N, 2) int64 (row, column).
    """
    numbers, alike = np.arange(mask.size).reshape(mask.shape), [np.diff(mask, axis=axis) == 0 for axis in (0, 1)]
    ends = np.concatenate([numbers[1:][alike[0]], numbers[:, 1:][alike[1]]])
    starts = np.concatenate([numbers[:-1][alike[0]], numbers[:, :-1][alike[1]]])
    lowest = lowest_connected(mask.size, starts, ends)
    pixels = np.flatnonzero(mask.ravel() != IGNORE_INDEX)
    pixels = pixels[lowest[pixels].argsort(kind="stable")]
    parts = np.split(pixels, np.flatnonzero(np.diff(lowest[pixels])) + 1)
    return [np.stack(np.divmod(part, mask.shape[1]), 1) for part in parts if len(part)]


def lowest_connected(count: int, starts: NDArray[np.intp], ends: NDArray[np.intp]) -> NDArray[np.intp]:
    """Return the lowest number to which each number is connected, directly or by way of others.

    Args:
        count: the numbers are 0 to `count` - 1.
        starts: (E,), one number of each of E connections.
        ends: (E,), the other one.

    Returns:
        (count,): the same number for all numbers that are connected.
    """
    lowest, before = np.arange(count), None
    while before is None or (lowest != before).any():
        before = lowest.copy()
        for side in (ends, starts):
            np.minimum.at(lowest, before[side], np.minimum(before[ends], before[starts]))
        lowest = lowest[lowest]
    return lowest


def _differs_nearby(mask: Tensor, width: int) -> Tensor:
    """Compute `boundary_band` of a band of rows; this takes some dozens of bytes for each pixel."""
    labels = mask[None].float()
    tall, wide = (2 * width + 1, 1), (1, 2 * width + 1)
    highest, lowest = (
        sign * F.max_pool2d(F.max_pool2d(sign * labels, tall, 1, (width, 0)), wide, 1, (0, width)) for sign in (1, -1)
    )
    return (highest != lowest)[0]
