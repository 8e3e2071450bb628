#!/usr/bin/env bash
# label-studio-sdk 2.1.2: the COCO export turns rectangles in percent of the sides, which is right only in square images.
#
# Label Studio stores a rectangle in percent of the width and of the height, and turns it around its top left corner on
# the screen, where a pixel is a square. The converter turns the percentages. In an image of 400x100 pixels, a box of
# 80x20 pixels that is turned by 90 degrees is 20 wide and 80 high. The export says 80 wide and 20 high, at another place.
# There is no error. In a square image, both agree.
#
# Output seen (left, top, width, height):
#   400x100, not turned: 200 10 80 20
#   400x100, turned:     120 10 80 20 (right is 180 10 20 80)
#   200x200, turned:     60 20 40 40 (right is 60 20 40 40)
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check label-studio-sdk==2.1.2

cat > "$work/export.py" <<'PY'
import json
import sys
from pathlib import Path

from label_studio_sdk.converter import Converter

work = Path(sys.argv[1])
CONFIG = (
    '<View><Image name="image" value="$image"/><RectangleLabels name="tag" toName="image"><Label value="car"/>'
    "</RectangleLabels></View>"
)


def box(width, height, rotation):
    value = {"x": 50, "y": 10, "width": 20, "height": 20, "rotation": rotation, "rectanglelabels": ["car"]}
    result = {
        "id": "r", "type": "rectanglelabels", "from_name": "tag", "to_name": "image", "image_rotation": 0,
        "original_width": width, "original_height": height, "value": value,
    }
    file, out = work / f"{width}-{rotation}.json", work / f"{width}-{rotation}"
    file.write_text(json.dumps([{"id": 1, "data": {"image": "a.jpg"}, "annotations": [{"id": 1, "result": [result]}]}]))
    Converter(CONFIG, str(work), download_resources=False).convert_to_coco(str(file), str(out), is_dir=False)
    return [round(number) for number in json.loads((out / "result.json").read_text())["annotations"][0]["bbox"]]


def turned(width, height):
    """The box after a turn by 90 degrees clockwise around its top left corner, in pixels."""
    left, top, wide, high = 0.5 * width, 0.1 * height, 0.2 * width, 0.2 * height
    return [round(number) for number in (left - high, top, high, wide)]


straight, wide, square = box(400, 100, 0), box(400, 100, 90), box(200, 200, 90)
print("400x100, not turned:", *straight)
print("400x100, turned:    ", *wide, f"(right is {' '.join(map(str, turned(400, 100)))})")
print("200x200, turned:    ", *square, f"(right is {' '.join(map(str, turned(200, 200)))})")
if wide == turned(400, 100) or square != turned(200, 200):
    sys.exit("this has changed")
PY
"$work/venv/bin/python" "$work/export.py" "$work" 2>/dev/null
