"""labelme's JSON files, one for each image, with a shape of type `mask` for each class.

A shape holds its bounding box and, inside the box, a PNG of its pixels. Thus holes and single pixels are kept, unlike
with polygons.
"""

import base64
import io
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from hypercolumns.io.files import atomic_write
from hypercolumns.prediction.annotations.labelled_image import annotated_classes, class_masks

FOLDER = "labelme"
VERSION = "7.9.1"  # the version of labelme whose files have this form


def write_labelme(path: Path, labels: NDArray[np.uint8], classes: Sequence[str], image: str) -> None:
    """Write the labelme file of an image, atomically.

    Args:
        path: the file to write.
        labels: (H, W) uint8, class indices.
        classes: the names of the classes.
        image: the path of the image file. labelme reads the image from there, since the file holds no copy of it.
    """
    # A link in the folder of the file would change what `..` means, so the real folder counts.
    relative = os.path.relpath(os.path.abspath(image), os.path.realpath(path.parent))
    document = {
        "version": VERSION,
        "flags": {},
        "shapes": [_shape(mask, classes[index]) for index, mask in class_masks(labels, annotated_classes(classes))],
        "imagePath": Path(relative).as_posix(),
        "imageData": None,
        "imageHeight": labels.shape[0],
        "imageWidth": labels.shape[1],
    }
    with atomic_write(path) as temporary:
        temporary.write_text(json.dumps(document, indent=2), encoding="utf-8")


def _shape(mask: NDArray[np.bool_], name: str) -> dict[str, Any]:
    """Return the shape for the pixels of a class. `points` are the first and the last column and row of its box."""
    rows, columns = (np.flatnonzero(mask.any(axis)).tolist() for axis in (1, 0))
    (top, bottom), (left, right) = (rows[0], rows[-1]), (columns[0], columns[-1])
    file = io.BytesIO()
    Image.fromarray(mask[top : bottom + 1, left : right + 1].astype(np.uint8)).save(file, format="PNG")
    return {
        "label": name,
        "points": [[left, top], [right, bottom]],
        "group_id": None,
        "description": "",
        "shape_type": "mask",
        "flags": {},
        "mask": base64.b64encode(file.getvalue()).decode("ascii"),
    }
