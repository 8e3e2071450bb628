"""How labels become the pixels of a mask file, so that all stages read these labels from it again."""

import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from hypercolumns.errors import HypercolumnsError
from hypercolumns.io.masks import decode_mask
from hypercolumns.labels import IGNORE_INDEX, VOID_COLOUR, Colour, LabelScheme, format_colour


@dataclass(frozen=True)
class MaskCoding:
    """The value and the colour of each class in the masks that are written.

    Attributes:
        classes: the names of the classes.
        values: the value of each class in a mask, and as the last one that of pixels without a label.
        colours: the colour of each class, and as the last one that of pixels without a label.
    """

    classes: tuple[str, ...]
    values: tuple[int, ...]
    colours: tuple[Colour, ...]

    @classmethod
    def of(cls, scheme: LabelScheme) -> "MaskCoding":
        """Return the coding that a scheme reads as the labels that were written.

        Raises:
            HypercolumnsError: if a class has no value that fits into 8 bits, or if no value is void.
        """
        value_of: dict[int, int] = {}
        for value, index in sorted(scheme.values.items(), reverse=True):
            if value <= IGNORE_INDEX and (index != IGNORE_INDEX or IGNORE_INDEX not in value_of):
                value_of[index] = value
        missing = [name for index, name in enumerate(scheme.classes) if index not in value_of]
        if missing:
            raise HypercolumnsError(
                f"the class {missing[0]} has no value from 0 to {IGNORE_INDEX}, with which stage=annotate could write "
                f"it to a mask; give the classes such values in data.classes"
            )
        if IGNORE_INDEX not in value_of:
            raise HypercolumnsError(
                f"no value of a mask is void, so pixels without a label can't be written; leave out data.void, or set "
                f"data.void={IGNORE_INDEX}"
            )
        values = [value_of[index] for index in (*range(len(scheme.classes)), IGNORE_INDEX)]
        void = next((colour for colour, index in scheme.colours.items() if index == IGNORE_INDEX), VOID_COLOUR)
        return cls(scheme.classes, tuple(values), (*scheme.palette, void))

    @classmethod
    def from_json(cls, entry: Mapping[str, Any]) -> "MaskCoding":
        """Make the coding that `as_json` returned."""
        colours = tuple((red, green, blue) for red, green, blue in entry.get("colours", ()))
        return cls(tuple(entry.get("classes", ())), tuple(entry.get("values", ())), colours)

    def as_json(self) -> dict[str, Any]:
        """Return the coding as a part of the first entry of a journal."""
        return {
            "classes": list(self.classes),
            "values": list(self.values),
            "colours": [list(colour) for colour in self.colours],
        }

    def check(self, scheme: LabelScheme) -> None:
        """Check that a scheme reads what `encode` writes as the same labels, also if it reads palettes by colours.

        Raises:
            HypercolumnsError: if a class, or void, has no colour of its own.
        """
        read = [scheme.colours.get(colour) for colour in self.colours]
        wanted = [*range(len(self.classes)), IGNORE_INDEX]
        if scheme.palette_by_colour and read != wanted:
            wrong = next(number for number, pair in enumerate(zip(read, wanted, strict=True)) if pair[0] != pair[1])
            name = f"the class {self.classes[wrong]}" if wrong < len(self.classes) else "void"
            raise HypercolumnsError(
                f"palette masks are read by their colours, but {name} has no colour of its own, with which "
                f"stage=annotate could write it: {format_colour(self.colours[wrong])}; set data.encoding=values, or "
                f"give each class another colour and leave {IGNORE_INDEX} to void"
            )

    def encode(self, labels: NDArray[np.uint8], path: Path) -> bytes:
        """Return the content of a mask file with a palette.

        Args:
            labels: (H, W) uint8 class indices, 255 for pixels without a label.
            path: the file, whose suffix decides the format.

        Returns:
            The bytes of the file.
        """
        table = np.zeros(IGNORE_INDEX + 1, np.uint8)
        table[: len(self.classes)], table[IGNORE_INDEX] = self.values[:-1], self.values[-1]
        colours = np.zeros((IGNORE_INDEX + 1, 3), np.uint8)
        colours[list(self.values)] = self.colours
        image = Image.fromarray(table[labels])
        image.putpalette(colours.ravel().tolist())
        file = io.BytesIO()
        image.save(file, format=Image.registered_extensions()[path.suffix.lower()])
        return file.getvalue()

    def decode(self, path: Path) -> NDArray[np.uint8]:
        """Return the labels (H, W) in a file that `encode` wrote.

        Raises:
            HypercolumnsError: if the file is damaged.
        """
        table = np.full(IGNORE_INDEX + 1, IGNORE_INDEX, np.uint8)
        table[list(self.values[:-1])] = range(len(self.classes))
        return table[decode_mask(path).values.astype(np.uint8)]
