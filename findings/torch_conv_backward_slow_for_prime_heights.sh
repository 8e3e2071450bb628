#!/usr/bin/env bash
# torch 2.15.0 (CPU, x86-64, two threads): the backward pass of a 1x1 convolution depends on how its pixels are laid out.
#
# A 1x1 convolution is a matrix product, so (1, C, N, 1) and (1, C, 1, N) hold the same numbers, and the forward pass
# takes equally long. The gradient of the weight does not: with 1,019 or 1,021 pixels (primes) along the height, it took
# four times as long as with the same pixels along the width, or as with 1,023 or 1,024 along the height. With one thread,
# there is no difference. The last batch of an epoch, or a batch with some samples left out, easily has such a number.
#
# Output seen on two cores of an AMD EPYC (Zen 4); the times differ from run to run:
#   1021 along the height: forward 5.5 ms, gradient of the weight 25.2 ms
#   1021 along the width:  forward 5.5 ms, gradient of the weight 5.8 ms
#   1024 along the height: forward 5.5 ms, gradient of the weight 6.6 ms
#   height / width: 4.3
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.15.0 numpy==2.3.5

cat > "$work/measure.py" <<'PY'
import statistics
import sys
import time

import torch
import torch.nn.functional as F

torch.set_num_threads(2)
weight = torch.randn(256, 2016, 1, 1, requires_grad=True)


def milliseconds(function):
    seconds = []
    for _ in range(13):
        start = time.perf_counter()
        function()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds[2:]) * 1e3


def measure(name, height, width):
    pixels = torch.randn(1, height, width, 2016).permute(0, 3, 1, 2)
    output = F.conv2d(pixels, weight)
    gradient = torch.randn(1, height, width, 256).permute(0, 3, 1, 2)
    forward = milliseconds(lambda: F.conv2d(pixels, weight))
    backward = milliseconds(lambda: torch.autograd.grad(output, weight, gradient, retain_graph=True))
    print(f"{name} forward {forward:.1f} ms, gradient of the weight {backward:.1f} ms")
    return backward


tall = measure("1021 along the height:", 1021, 1)
wide = measure("1021 along the width: ", 1, 1021)
measure("1024 along the height:", 1024, 1)
print(f"height / width: {tall / wide:.1f}")
if tall < 2 * wide:
    sys.exit("this has changed, or this machine runs one thread")
PY
"$work/venv/bin/python" "$work/measure.py"
