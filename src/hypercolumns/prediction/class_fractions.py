"""Fractions of the pixels that each class takes: a CSV file with a row per image, and a line about all images."""

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from hypercolumns.io.files import atomic_write

CLASS_FRACTIONS = "class_fractions.csv"


def write_class_fractions(path: Path, pixels: Mapping[str, Sequence[int]], classes: Sequence[str]) -> None:
    """Write a CSV file with a row per image: name, number of pixels, and the fraction of pixels that each class takes.

    Args:
        path: the file to write.
        pixels: for each image name, the number of pixels of each class.
        classes: the names of the classes, in the order of the counts.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["image", "pixels", *classes])
    for name, counts in pixels.items():
        writer.writerow([name, sum(counts), *(f"{count / sum(counts):.6f}" for count in counts)])
    with atomic_write(path) as temporary:
        # A file name can contain bytes that are not UTF-8.
        temporary.write_text(text.getvalue(), encoding="utf-8", errors="surrogateescape")


def describe_class_fractions(pixels: Mapping[str, Sequence[int]], classes: Sequence[str]) -> str:
    """Return a line with the fraction of all pixels that each predicted class takes, largest fraction first."""
    total = np.sum([*pixels.values()], axis=0)
    fractions = sorted(zip(total / total.sum(), classes, strict=True), reverse=True)
    listed = ", ".join(f"{name} {fraction:.1%}" for fraction, name in fractions if fraction)
    return f"{len(pixels)} images: {listed}"
