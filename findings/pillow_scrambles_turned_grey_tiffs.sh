#!/usr/bin/env bash
# Pillow 13.0.0: load() scrambles an uncompressed grey TIFF with an orientation of 5 to 8 that is opened by its path.
#
# Pillow turns a TIFF by its orientation when it loads it, and maps uncompressed grey files into memory. Both together go
# wrong: the values end up in wrong places, and width and height are not exchanged. There is no error. From an open file,
# or with a compression, the same image is right. Grey masks and scans are such files.
#
# Output seen, for the image 0 1 2 / 3 4 5 with orientation 6 (to be turned by 90 degrees clockwise):
#   opened by path: 4 2 0 / 5 3 1
#   from a stream:  3 0 / 4 1 / 5 2
#   compressed:     3 0 / 4 1 / 5 2
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check pillow==13.0.0

cat > "$work/read.py" <<'PY'
import io
import sys
from pathlib import Path

from PIL import Image

work = Path(sys.argv[1])
image = Image.frombytes("L", (3, 2), bytes(range(6)))
image.save(work / "plain.tif", tiffinfo={274: 6})
image.save(work / "packed.tif", tiffinfo={274: 6}, compression="tiff_deflate")


def rows(opened):
    opened.load()
    values, width = opened.tobytes(), opened.width
    return " / ".join(" ".join(map(str, values[start : start + width])) for start in range(0, len(values), width))


by_path = rows(Image.open(work / "plain.tif"))
from_stream = rows(Image.open(io.BytesIO((work / "plain.tif").read_bytes())))
compressed = rows(Image.open(work / "packed.tif"))
print("opened by path:", by_path)
print("from a stream: ", from_stream)
print("compressed:    ", compressed)
if not by_path != from_stream == compressed == "3 0 / 4 1 / 5 2":
    sys.exit("this has changed")
PY
"$work/venv/bin/python" "$work/read.py" "$work"
