#!/usr/bin/env bash
# Datumaro 1.13.12: an export to voc_segmentation leaves polygons out, without an error or a warning.
#
# The format holds masks only. Polygons of a dataset are not drawn: the export has the images and labelmap.txt, but no
# mask and no list, and the call returns normally. Whoever exports polygon annotations to train on masks gets images
# without labels. The transform polygons_to_masks must be called first.
#
# Output seen:
#   polygons: JPEGImages/a.jpg labelmap.txt
#   masks:    ImageSets/Segmentation/default.txt JPEGImages/a.jpg SegmentationClass/a.png SegmentationObject/a.png labelmap.txt
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check datumaro==1.13.12

cat > "$work/export.py" <<'PY'
import sys
from pathlib import Path

import numpy as np
from datumaro.components.annotation import Polygon
from datumaro.components.dataset import Dataset
from datumaro.components.dataset_base import DatasetItem
from datumaro.components.media import Image


def files(folder):
    return " ".join(sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()))


work = Path(sys.argv[1])
picture = Image.from_numpy(np.zeros((20, 30, 3), np.uint8))
square = Polygon([5, 5, 15, 5, 15, 15, 5, 15], label=1, id=1, group=1)
item = DatasetItem("a", media=picture, annotations=[square])
dataset = Dataset.from_iterable([item], categories=["background", "car"])
dataset.export(str(work / "polygons"), "voc_segmentation", save_media=True)
dataset.transform("polygons_to_masks")
dataset.export(str(work / "masks"), "voc_segmentation", save_media=True)
print("polygons:", files(work / "polygons"))
print("masks:   ", files(work / "masks"))
if files(work / "polygons") != "JPEGImages/a.jpg labelmap.txt" or "SegmentationClass/a.png" not in files(work / "masks"):
    sys.exit("this has changed")
PY
"$work/venv/bin/python" "$work/export.py" "$work" 2>"$work/log"
grep -i "polygon" "$work/log" && { echo "there is a warning now"; exit 1; } || true
