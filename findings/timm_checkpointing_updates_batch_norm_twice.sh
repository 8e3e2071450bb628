#!/usr/bin/env bash
# timm 1.0.31: set_grad_checkpointing(True) changes the statistics of BatchNorm layers, and so the trained network.
#
# Gradient checkpointing computes the blocks again in the backward pass, to save memory, and is meant to give the same
# training. A BatchNorm layer inside a block then sees each mini-batch twice, and moves its running statistics twice. Its
# momentum is in effect 1 - 0.9^2 = 0.19 in place of 0.1. Layers before the blocks, such as the stem, move once.
#
# Output seen:
#   without: stem 1, block 1
#   with: stem 1, block 2
#   the running mean of the block is 1.9 times as far from 0
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check timm==1.0.31

cat > "$work/batch_norm.py" <<'PY'
import sys

import timm
import torch

counts, means = [], []
for checkpointing in (False, True):
    torch.manual_seed(0)
    network = timm.create_model("resnet18").train()
    network.set_grad_checkpointing(checkpointing)
    network(torch.rand(4, 3, 64, 64)).sum().backward()
    layers = network.bn1, network.layer1[0].bn1
    counts.append([int(layer.num_batches_tracked) for layer in layers])
    means.append(layers[1].running_mean)
    print(f"{'with' if checkpointing else 'without'}: stem {counts[-1][0]}, block {counts[-1][1]}")
ratio = float(means[1].norm() / means[0].norm())
print(f"the running mean of the block is {ratio:.1f} times as far from 0")
if counts != [[1, 1], [1, 2]] or round(ratio, 1) != 1.9:
    sys.exit("this has changed")
PY
"$work/venv/bin/python" "$work/batch_norm.py"
