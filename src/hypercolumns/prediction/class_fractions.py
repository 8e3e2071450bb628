"""The fraction of pixels that each class has: a table of images, and a line about all of them."""

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from hypercolumns.io.files import atomic_write

CLASS_FRACTIONS = "class_fractions.csv"


def write_class_fractions(path: Path, pixels: Mapping[str, Sequence[int]], classes: Sequence[str]) -> None:
    """Write a CSV file with a row for each image: its name, its number of pixels, and each class's fraction of them.

    Args:
        path: of the file, which is written whole or not at all.
        pixels: the number of pixels of each class, by the name of the image.
        classes: their names.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["image", "pixels", *classes])
    for name, counts in pixels.items():
        writer.writerow([name, sum(counts), *(f"{count / sum(counts):.6f}" for count in counts)])
    with atomic_write(path) as temporary:
        temporary.write_text(text.getvalue(), encoding="utf-8", errors="surrogateescape")  # names of files


def describe_class_fractions(pixels: Mapping[str, Sequence[int]], classes: Sequence[str]) -> str:
    """Say how the pixels of all images are divided among the classes, the largest first."""
    total = np.sum([*pixels.values()], axis=0)
    fractions = sorted(zip(total / total.sum(), classes, strict=True), reverse=True)
    listed = ", ".join(f"{name} {fraction:.1%}" for fraction, name in fractions if fraction)
    return f"{len(pixels)} images: {listed}"
