"""The masks of a COCO file: drawn by data=coco, and by pycocotools' annToMask, one annotation after the other.

python benchmarks/annotations.py
"""

import contextlib
import io
import json
import multiprocessing
import pickle
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from common import arguments, report
from PIL import Image
from pycocotools.coco import COCO

from hypercolumns.data import DatasetIndex, coco
from hypercolumns.io.masks import decode_mask

HEIGHT, WIDTH, CATEGORIES = 480, 640, 80
OBJECTS = 7  # an image of COCO has 7.3 objects on average
CORNERS = 40  # of a polygon; in COCO, 44 numbers are the median


def main() -> None:
    """Measure and print the table."""
    parser = arguments(__doc__, 3, images={"type": int, "default": 5000})
    options = parser.parse_args()
    warnings.simplefilter("ignore", DeprecationWarning)  # of pycocotools, about NumPy
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "annotations/instances_default.json"
        file.parent.mkdir()
        file.write_text(json.dumps(make_annotations(options.images)))
        (Path(folder) / "images").mkdir()
        Image.new("RGB", (WIDTH, HEIGHT)).save(Path(folder) / "images/0.png")  # the other images are not read
        report("masks of a COCO file", [measure(Path(folder), file, options.rounds)], options.json)


def make_annotations(count: int) -> dict[str, Any]:
    """Return the content of a COCO file: polygons with random corners, one of ten with two parts."""
    random = np.random.default_rng(0)
    images = [{"id": 3 * id, "file_name": f"{id}.png", "height": HEIGHT, "width": WIDTH} for id in range(count)]
    annotations = []
    for image in images:
        for _ in range(random.poisson(OBJECTS)):
            parts = []
            for _ in range(1 if random.random() < 0.9 else 2):
                angles = np.sort(random.uniform(0, 2 * np.pi, CORNERS))
                radius = random.gamma(2, 30) * random.uniform(0.7, 1, CORNERS)
                centre = random.uniform(0, (WIDTH, HEIGHT))
                points = centre + radius[:, None] * np.stack([np.cos(angles), np.sin(angles)], 1)
                parts.append(points.clip(0, (WIDTH, HEIGHT)).round(2).ravel().tolist())
            category = int(random.integers(1, CATEGORIES + 1))
            annotations.append({"image_id": image["id"], "category_id": category, "segmentation": parts, "iscrowd": 0})
    for number, annotation in enumerate(annotations, 1):
        annotation["id"] = number
    categories = [{"id": id, "name": f"class {id}"} for id in range(1, CATEGORIES + 1)]
    return {"images": images, "annotations": annotations, "categories": categories}


def measure(root: Path, file: Path, rounds: int) -> dict[str, Any]:
    """Time both ways on all images in turns, and check that their masks agree.

    Args:
        root: the folder of the data set.
        file: the JSON file.
        rounds: number of timings; the table shows the fastest of each way.

    Returns:
        The row of the table.
    """
    with multiprocessing.get_context("spawn").Pool(1) as process:
        memory = process.apply(peak_memory, (root,))
    start = time.perf_counter()
    index = coco(root)
    seconds = time.perf_counter() - start
    with contextlib.redirect_stdout(io.StringIO()):
        reference = COCO(str(file))
    ours, theirs = zip(*((draw(index), draw_by_pycocotools(reference)) for _ in range(rounds)), strict=True)
    check(index, reference)
    pairs = [pair for of_split in index.splits.values() for pair in of_split]
    return {
        "images": len(pairs),
        "JSON MB": file.stat().st_size / 1e6,
        "index s": seconds,
        "index peak MB": memory,
        "pickled MB": len(pickle.dumps(pairs)) / 1e6,
        "ours images/s": len(pairs) / min(ours),
        "annToMask images/s": len(pairs) / min(theirs),
        "ours / annToMask": min(theirs) / min(ours),
    }


def peak_memory(root: Path) -> float:
    """Index the data set, and return by how many MB the peak memory of this process rises."""
    before = _peak()
    coco(root)
    return _peak() - before


def _peak() -> float:
    (line,) = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")]
    return int(line.split()[1]) / 1e3


def draw(index: DatasetIndex) -> float:
    """Draw the masks of all images, and return the seconds."""
    start = time.perf_counter()
    for of_split in index.splits.values():
        for pair in of_split:
            decode_mask(pair.mask)
    return time.perf_counter() - start


def draw_by_pycocotools(reference: COCO) -> float:
    """Draw all annotations, without putting them together to the mask of an image, and return the seconds."""
    start = time.perf_counter()
    for id in reference.getImgIds():
        for annotation in reference.imgToAnns[id]:
            reference.annToMask(annotation)
    return time.perf_counter() - start


def check(index: DatasetIndex, reference: COCO) -> None:
    """Check that each mask is that of its annotations, drawn over each other in the order of the file."""
    ids = {Path(image["file_name"]).stem: id for id, image in reference.imgs.items()}
    for of_split in index.splits.values():
        for pair in of_split:
            expected = np.zeros((HEIGHT, WIDTH), np.uint16)
            for annotation in reference.imgToAnns[ids[pair.id]]:
                expected[reference.annToMask(annotation) == 1] = annotation["category_id"]
            assert (decode_mask(pair.mask).values == expected).all(), f"the mask of image {pair.id} differs"


if __name__ == "__main__":
    main()
