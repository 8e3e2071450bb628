"""Label Studio's JSON file of tasks, each with a prediction of brush labels.

The masks are run-length encoded as in Label Studio's own package. That package pins an older NumPy than this project
allows, so the encoder is written here. The format is that of https://github.com/thi-ng/umbrella (package rle-pack):
a header, then a code for each run of equal values. The values are those of an RGBA image, row by row.
"""

import json
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import numpy as np
from numpy.typing import NDArray

from hypercolumns.io.files import atomic_write
from hypercolumns.prediction.annotations.labelled_image import LabelledImage, annotated_classes, class_masks

FILE = "label_studio.json"
CHANNELS = 4
INSIDE = 255  # the value of a pixel of the class in all channels; Label Studio shows the last one, alpha
VALUE_BITS = 8
RUNS = 1 << 18  # runs that are encoded at a time, in some hundred bytes each
RUN_BITS = (3, 4, 8, 16)  # the length of a run, minus 1, has the fewest of these bits that can hold it
MAX_RUN = 1 << RUN_BITS[-1]


@dataclass(frozen=True)
class LabelStudioTags:
    """What a task takes from the labelling configuration of the project.

    Attributes:
        from_name: the name of the tag `BrushLabels`.
        to_name: the name of the tag `Image`, whose value is `$image`.
        image_root: the URL of the folder of the images. The URL of an image is this text followed by `Source.file`.
    """

    from_name: str = "tag"
    to_name: str = "image"
    image_root: str = "/data/local-files/?d="


def encode_brush(mask: NDArray[np.bool_]) -> list[int]:
    """Encode the pixels of a class as Label Studio does.

    Args:
        mask: (H, W), true for the pixels of the class.

    Returns:
        The bytes of the code, from 0 to 255. It describes H * W * 4 values of 8 bits, which are 0 or 255.
    """
    flat = mask.ravel()
    ends = np.append(np.flatnonzero(flat[1:] != flat[:-1]) + 1, flat.size)
    header = [(mask.size * CHANNELS, 32), (VALUE_BITS - 1, 5), *((width - 1, 4) for width in RUN_BITS)]
    bits = np.concatenate([_bits(np.array([number]), np.array([width])) for number, width in header])
    code: list[int] = []
    for first in range(0, len(ends), RUNS):
        some = ends[first : first + RUNS]
        bits = np.append(bits, _run_codes(some, int(ends[first - 1]) if first else 0, flat[some - 1] * INSIDE))
        whole = len(bits) // 8 * 8
        code += np.packbits(bits[:whole]).tolist()
        bits = bits[whole:]
    # Label Studio's encoder ends with at least one bit 0, too
    return code + np.packbits(np.append(bits, np.zeros(1, np.uint8))).tolist()


def _run_codes(ends: NDArray[np.int64], start: int, values: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the bits of runs of equal values.

    Args:
        ends: (N,) int64, the pixel after the last one of each run, in the order of the runs.
        start: the first pixel of the first run.
        values: (N,), the value of each run.
    """
    lengths = np.diff(ends, prepend=start) * CHANNELS
    kind = np.minimum(np.searchsorted([1 << bits for bits in RUN_BITS], lengths), len(RUN_BITS) - 1)
    chunks = -(-lengths // MAX_RUN)  # a run that is too long for one code has several; the last one has the rest
    runs = np.full(chunks.sum(), MAX_RUN)
    runs[np.cumsum(chunks) - 1] = lengths - (chunks - 1) * MAX_RUN
    values, kind = np.repeat(values, chunks), np.repeat(kind, chunks)
    bits = np.array(RUN_BITS)[kind]
    # A code is: 1 for a run of equal values, the kind in 2 bits, the length in `bits`, the value in 8 bits.
    codes = (((0b100 | kind) << bits | (runs - 1)) << VALUE_BITS) | values
    return _bits(codes, 3 + bits + VALUE_BITS)


def write_label_studio(
    path: Path, images: Iterable[LabelledImage], classes: Sequence[str], tags: LabelStudioTags
) -> None:
    """Write a task for each image, atomically. Only one image is held in memory.

    Args:
        path: the file to write.
        images: the images and their labels.
        classes: the names of the classes, which the labels of the tag `BrushLabels` must have, too.
        tags: the names of the tags, and the folder of the images.
    """
    with atomic_write(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        file.write("[")
        for number, image in enumerate(images):
            file.write(",\n" if number else "\n")
            for part in _task(image, classes, tags):
                file.write(part)
        file.write("\n]\n")


def _task(image: LabelledImage, classes: Sequence[str], tags: LabelStudioTags) -> Iterator[str]:
    """Yield the JSON text of a task in parts, one for each class, because the run lengths of noise are long."""
    height, width = image.labels.shape
    url = tags.image_root + quote(os.fsencode(image.file))
    task = {"data": {"image": url}, "predictions": [{"model_version": "hypercolumns", "result": []}]}
    end = "]}]}"
    yield json.dumps(task).removesuffix(end)
    separator = ""
    for index, mask in class_masks(image.labels, annotated_classes(classes)):
        result = {
            "id": f"class{index}",
            "type": "brushlabels",
            "from_name": tags.from_name,
            "to_name": tags.to_name,
            "image_rotation": 0,
            "original_width": width,
            "original_height": height,
            "value": {"format": "rle", "rle": encode_brush(mask), "brushlabels": [classes[index]]},
        }
        yield separator + json.dumps(result)
        separator = ", "
    yield end


def _bits(numbers: NDArray[np.int64], widths: NDArray[np.int64]) -> NDArray[np.uint8]:
    """Return the lowest bits of each number, highest bit first, as zeros and ones. `widths` are at most 32."""
    bits = np.unpackbits(numbers.astype(">u4").view(np.uint8)).reshape(-1, 32)
    return bits[np.arange(32) >= 32 - widths[:, None]]
