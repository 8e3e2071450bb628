#!/usr/bin/env bash
# supervision 0.31.2: a mask comes back from as_coco() without its last row and its last column, as pycocotools 2.0.11
# draws the polygon.
#
# The polygon runs through the centres of the mask's outermost pixels, whose coordinates are whole numbers. To
# pycocotools, whole numbers are the edges of pixels: each object is one pixel narrower and lower, so that a stroke of two
# pixels becomes one of one pixel, while `area` in the same file still counts all pixels.
#
# Output seen:
#   square of 10x10 pixels: area 100, drawn 81
#   stroke of 20x2 pixels:  area 40, drawn 19
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
from pycocotools.coco import COCO

work = Path(sys.argv[1])
picture = str(work / "a.png")
Image.fromarray(np.zeros((40, 40, 3), np.uint8)).save(picture)


def export(rows, columns):
    """Return the area that is written for a rectangle, and the number of its pixels that pycocotools draws."""
    mask = np.zeros((1, 40, 40), bool)
    mask[0, 5 : 5 + rows, 5 : 5 + columns] = True
    found = sv.Detections(xyxy=sv.mask_to_xyxy(mask).astype(float), mask=mask, class_id=np.array([0]))
    path = str(work / "coco.json")
    sv.DetectionDataset(["car"], [picture], {picture: found}).as_coco(annotations_path=path)
    written = json.loads(Path(path).read_text())["annotations"]
    with contextlib.redirect_stdout(io.StringIO()):
        drawn = sum(int(COCO(path).annToMask(entry).sum()) for entry in written)
    return sum(entry["area"] for entry in written), drawn


seen = [export(10, 10), export(2, 20)]
for name, (area, drawn) in zip(("square of 10x10 pixels:", "stroke of 20x2 pixels:"), seen):
    print(f"{name:23} area {area:.0f}, drawn {drawn}")
if seen != [(100, 81), (40, 19)]:
    sys.exit("this has changed")
PY
"$work/venv/bin/python" -W ignore "$work/export.py" "$work"
