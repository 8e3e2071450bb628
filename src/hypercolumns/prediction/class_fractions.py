"""Report the fraction of pixels that is predicted as each class.

Each image has a row in a CSV file. One line is about all images together.
"""

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from hypercolumns.io.files import atomic_write

CLASS_FRACTIONS = "class_fractions.csv"


def write_class_fractions(path: Path, pixels: Mapping[str, Sequence[int]], classes: Sequence[str]) -> None:
    """Write a CSV file with a row per image: its name, its number of pixels, and the fraction predicted as each class.

    Args:
        path: the file to write.
        pixels: for each image, by name, the number of pixels that are predicted as each class.
        classes: the names of the classes, in the order of these numbers.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["image", "pixels", *classes])
    for name, counts in pixels.items():
        writer.writerow([name, sum(counts), *(f"{count / sum(counts):.6f}" for count in counts)])
    with atomic_write(path) as temporary:
        # The name of an image is a file name, which can contain bytes that are not UTF-8.
        temporary.write_text(text.getvalue(), encoding="utf-8", errors="surrogateescape")


def describe_class_fractions(pixels: Mapping[str, Sequence[int]], classes: Sequence[str]) -> str:
    """Return a line with the fraction of the pixels of all images that is predicted as each class.

    The largest fraction comes first. Classes without pixels are left out. The arguments are those of
    `write_class_fractions`; there must be at least one image.
    """
    total = np.sum([*pixels.values()], axis=0)
    fractions = sorted(zip(total / total.sum(), classes, strict=True), reverse=True)
    listed = ", ".join(f"{name} {fraction:.1%}" for fraction, name in fractions if fraction)
    return f"{len(pixels)} images: {listed}"
