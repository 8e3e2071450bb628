#!/usr/bin/env bash
# Pillow 13.0.0: saving a palette image as PNG cuts values above the palette to the bits that the palette needs.
#
# A mask of class indices with a palette of four colours is saved with 2 bits a pixel. The value 255, which many data
# sets use for pixels without a class, is then read back as 3, a valid class; with two colours it becomes 1, with up to
# 16 colours 15. There is no error and no warning, and save(..., bits=8) does not help: it only sets an upper limit. With
# a palette of 17 colours or more, values are kept.
#
# Output seen:
#   palette of 2 colours:  0 1 255 -> 0 1 1
#   palette of 4 colours:  0 1 255 -> 0 1 3
#   palette of 16 colours: 0 1 255 -> 0 1 15
#   palette of 17 colours: 0 1 255 -> 0 1 255
#   4 colours, bits=8:     0 1 255 -> 0 1 3
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check pillow==13.0.0

cat > "$work/save.py" <<'PY'
import sys
from pathlib import Path

from PIL import Image

path = Path(sys.argv[1]) / "mask.png"


def saved(colours, **options):
    image = Image.new("L", (3, 1))
    image.putdata([0, 1, 255])
    image.putpalette([channel for number in range(colours) for channel in (number, 0, 0)])
    image.save(path, **options)
    with Image.open(path) as read:
        return [*read.tobytes()]


seen = [saved(2), saved(4), saved(16), saved(17), saved(4, bits=8)]
names = [f"palette of {count} colours:" for count in (2, 4, 16, 17)] + ["4 colours, bits=8:"]
for name, values in zip(names, seen):
    print(f"{name:22} 0 1 255 -> {' '.join(map(str, values))}")
if [values[2] for values in seen] != [1, 3, 15, 255, 3]:
    sys.exit("this has changed")
PY
"$work/venv/bin/python" -W error::UserWarning "$work/save.py" "$work"
