"""Report class fractions: for each class, the fraction of pixels that the model predicts as this class.

`write_class_fractions` writes the fractions of each image to a CSV file. `describe_class_fractions` gives the fractions
over all images together, in one line of text.
"""

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from hypercolumns.io.files import atomic_write

CLASS_FRACTIONS = "class_fractions.csv"


def write_class_fractions(path: Path, pixels: Mapping[str, Sequence[int]], classes: Sequence[str]) -> None:
    """Write the class fractions of each image to a CSV file.

    The file has one row for each image. The columns are `image` (its name), `pixels` (its number of pixels), and the
    fraction of each class, in [0, 1].

    Args:
        path: the file to write.
        pixels: maps the name of each image to its pixel counts, one count for each class, in the order of `classes`.
        classes: the names of the classes.
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
    """Describe the class fractions of all images together, in one line of text.

    The fractions are percentages of the images' total number of pixels, largest first. Classes without pixels are left
    out.

    Args:
        pixels: maps the name of each image to its pixel counts, one count for each class, in the order of `classes`.
            There must be at least one image.
        classes: the names of the classes.

    Returns:
        The line, which begins with the number of images.
    """
    total = np.sum([*pixels.values()], axis=0)
    fractions = sorted(zip(total / total.sum(), classes, strict=True), reverse=True)
    listed = ", ".join(f"{name} {fraction:.1%}" for fraction, name in fractions if fraction)
    return f"{len(pixels)} images: {listed}"
