#!/usr/bin/env bash
# timm 1.0.31: intermediate maps of a hybrid ViT have twice or four times the channels for 3 of every 32 sizes.
#
# vit_tiny_r_s16_p8_224 cuts the map of a convolutional stem, which has a quarter of the image's side rounded up, into
# patches of 8x8 cells. With dynamic_img_size=True it takes images of any size. forward_intermediates, however, computes
# the number of patches from the image's side, rounded down. For sides of 61 to 63 pixels the stem gives 16 cells and
# so two patches, where the rounding counts one. The tokens are then reshaped to a map of one cell with all their
# channels. There is no error, although feature_info says 192 channels. One pixel less or more gives the right map.
#
# Output seen:
#   60x60: (1, 192, 1, 1)
#   61x61: (1, 768, 1, 1)
#   63x64: (1, 384, 1, 2)
#   64x64: (1, 192, 2, 2)
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check timm==1.0.31

cat > "$work/patches.py" <<'PY'
import sys

import timm
import torch

network = timm.create_model("vit_tiny_r_s16_p8_224", dynamic_img_size=True).eval()
seen = []
for height, width in ((60, 60), (61, 61), (63, 64), (64, 64)):
    with torch.no_grad():
        images = torch.rand(1, 3, height, width)
        (cells,) = network.forward_intermediates(images, indices=[-1], intermediates_only=True)
    seen.append(tuple(cells.shape))
    print(f"{height}x{width}: {seen[-1]}")
if seen != [(1, 192, 1, 1), (1, 768, 1, 1), (1, 384, 1, 2), (1, 192, 2, 2)]:
    sys.exit("this has changed")
PY
"$work/venv/bin/python" "$work/patches.py"
