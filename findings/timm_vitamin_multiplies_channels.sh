#!/usr/bin/env bash
# timm 1.0.31: ViTamin takes an image of one patch, and returns maps with 196 times the channels.
#
# vitamin_small_224 adds its 196 position embeddings without a check of the image's size. Images of 32x32 pixels are an
# error of torch, because 4 tokens and 196 positions do not fit. An image of 16x16 pixels has one token, which torch
# broadcasts over all positions. The map then has 384 x 196 channels, although feature_info says 384, and the classifier
# returns its usual number of values. Whoever tries sizes to find out which ones a network takes must compare channels.
#
# Output seen:
#   16x16: a map of (1, 75264, 1, 1)
#   32x32: RuntimeError
#   224x224: a map of (1, 384, 14, 14)
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check timm==1.0.31

cat > "$work/channels.py" <<'PY'
import sys

import timm
import torch

network = timm.create_model("vitamin_small_224").eval()
seen = []
for side in (16, 32, 224):
    try:
        with torch.no_grad():
            (cells,) = network.forward_intermediates(torch.rand(1, 3, side, side), indices=[-1], intermediates_only=True)
        seen.append(f"a map of {tuple(cells.shape)}")
    except RuntimeError:
        seen.append("RuntimeError")
    print(f"{side}x{side}: {seen[-1]}")
if seen != ["a map of (1, 75264, 1, 1)", "RuntimeError", "a map of (1, 384, 14, 14)"]:
    sys.exit("this has changed")
PY
"$work/venv/bin/python" "$work/channels.py"
