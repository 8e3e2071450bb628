#!/usr/bin/env bash
# timm 1.0.31: forward_intermediates(norm=True) returns maps without a norm for many networks, without a word.
#
# A vision transformer that averages its tokens for the classifier (global_pool="avg") has its last LayerNorm after the
# average (fc_norm), and an Identity where norm=True looks for one. A ResNet has no such layer at all. For both, the maps
# with norm=True and norm=False are the same, and nothing tells. Whoever needs normalised features, as DINOv2's dense
# tasks use them, must check that the maps differ.
#
# Output seen:
#   vit_tiny_patch16_224, token: the norm changes the maps
#   vit_tiny_patch16_224, avg: the maps are the same
#   resnet18: the maps are the same
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check timm==1.0.31

cat > "$work/norm.py" <<'PY'
import sys

import timm
import torch

torch.manual_seed(0)
seen = []
for model, settings in (
    ("vit_tiny_patch16_224", {"global_pool": "token"}),
    ("vit_tiny_patch16_224", {"global_pool": "avg"}),
    ("resnet18", {}),
):
    network = timm.create_model(model, **settings).eval()
    images = torch.rand(1, 3, 224, 224)
    with torch.no_grad():
        plain, normed = (
            network.forward_intermediates(images, indices=[-1], norm=norm, intermediates_only=True)[0]
            for norm in (False, True)
        )
    seen.append(torch.equal(plain, normed))
    name = ", ".join([model, *settings.values()])
    print(f"{name}: {'the maps are the same' if seen[-1] else 'the norm changes the maps'}")
if seen != [False, True, True]:
    sys.exit("this has changed")
PY
"$work/venv/bin/python" "$work/norm.py"
