"""Report which fraction of the pixels each class takes: a table with a row per image, and one line for all images."""

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from hypercolumns.io.files import atomic_write

CLASS_FRACTIONS = "class_fractions.csv"


def write_class_fractions(path: Path, pixels: Mapping[str, Sequence[int]], classes: Sequence[str]) -> None:
    """Write a CSV file with one row per image: its name, its number of pixels, and the fraction of each class.

    Args:
        path: the file to write; the write is atomic.
        pixels: for each image name, the number of pixels of each class.
        classes: the names of the classes.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["image", "pixels", *classes])
    for name, counts in pixels.items():
        writer.writerow([name, sum(counts), *(f"{count / sum(counts):.6f}" for count in counts)])
    with atomic_write(path) as temporary:
        temporary.write_text(text.getvalue(), encoding="utf-8", errors="surrogateescape")  # file names may not be UTF-8


def describe_class_fractions(pixels: Mapping[str, Sequence[int]], classes: Sequence[str]) -> str:
    """Describe in one line which fraction of all pixels each class takes, largest first."""
    total = np.sum([*pixels.values()], axis=0)
    fractions = sorted(zip(total / total.sum(), classes, strict=True), reverse=True)
    listed = ", ".join(f"{name} {fraction:.1%}" for fraction, name in fractions if fraction)
    return f"{len(pixels)} images: {listed}"
