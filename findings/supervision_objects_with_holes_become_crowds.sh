#!/usr/bin/env bash
# supervision 0.31.2: as_coco() writes an object with a hole as a crowd, so that pycocotools 2.0.11 does not score it.
#
# An object whose mask has a hole, or several parts, is written as run lengths with iscrowd 1. In COCO, this marks a
# group of objects that are not told apart: COCOeval ignores it, and a perfect detection of it counts for nothing. The
# same object without the hole is written as a polygon with iscrowd 0, and is scored. Whoever trains or scores on such a
# file by COCO's rules loses all objects with holes, without an error or a warning.
#
# Output seen:
#   without a hole: iscrowd 0, AP of the perfect detection 1.00
#   with a hole:    iscrowd 1, AP of the perfect detection -1.00
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check supervision==0.31.2 pycocotools==2.0.11

cat > "$work/export.py" <<'PY'
import contextlib
import io
import json
import sys
from pathlib import Path

import numpy as np
import supervision as sv
from PIL import Image
from pycocotools import mask as rle
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

work = Path(sys.argv[1])
picture = str(work / "a.png")
Image.fromarray(np.zeros((64, 64, 3), np.uint8)).save(picture)


def export(mask):
    """Return iscrowd of an object, and the average precision of its exact detection."""
    found = sv.Detections(xyxy=sv.mask_to_xyxy(mask[None]).astype(float), mask=mask[None], class_id=np.array([0]))
    path = str(work / "coco.json")
    sv.DetectionDataset(["car"], [picture], {picture: found}).as_coco(annotations_path=path)
    (written,) = json.loads(Path(path).read_text())["annotations"]
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(path)
        code = rle.encode(np.asfortranarray(truth.annToMask(written)))
        same = {"image_id": written["image_id"], "category_id": written["category_id"], "segmentation": code, "score": 1.0}
        scores = COCOeval(truth, truth.loadRes([same]), "segm")
        scores.evaluate()
        scores.accumulate()
        scores.summarize()
    return written["iscrowd"], float(scores.stats[0])


square = np.zeros((64, 64), bool)
square[10:50, 10:50] = True
ring = square.copy()
ring[25:35, 25:35] = False
seen = [export(square), export(ring)]
for name, (crowd, precision) in zip(("without a hole:", "with a hole:"), seen):
    print(f"{name:15} iscrowd {crowd}, AP of the perfect detection {precision:.2f}")
if [crowd for crowd, _ in seen] != [0, 1] or seen[0][1] < 0.99 or seen[1][1] != -1:
    sys.exit("this has changed")
PY
"$work/venv/bin/python" -W ignore "$work/export.py" "$work"
