#!/usr/bin/env bash
# torchvision 0.29.2: hooks on the blocks of a feature extractor are registered, and never called.
#
# create_feature_extractor traces a network. The result still lists every block, such as the Fire modules of SqueezeNet
# or the bottlenecks of ResNet-50, under its old name. But such a block is an empty container there: only layers of
# torch.nn are called. A forward hook on a block, such as one for dropout or for statistics, is accepted without a
# message and does nothing. On the network itself, the same hook changes the output. Hooks on layers of torch.nn work in
# both.
#
# Output seen, for noise and random weights:
#   squeezenet1_0 features.9 Fire: network 1 call, extractor 0 calls, there a Module
#   squeezenet1_0 features.11 MaxPool2d: network 1 call, extractor 1 call, there a MaxPool2d
#   resnet50 layer4.0 Bottleneck: network 1 call, extractor 0 calls, there a Module
#   the hook on features.9 changes the output: network True, extractor False
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.15.0 torchvision==0.29.2

cat > "$work/hooks.py" <<'PY'
import sys

import torch
import torchvision
from torchvision.models.feature_extraction import create_feature_extractor

torch.manual_seed(0)
image = torch.rand(1, 3, 64, 64)


def calls(network, name):
    count = []
    handle = network.get_submodule(name).register_forward_hook(lambda *_: count.append(1))
    network(image)
    handle.remove()
    return len(count)


def zeroed(network, name):
    before = output(network)
    network.get_submodule(name).register_forward_hook(lambda module, inputs, result: torch.zeros_like(result))
    return not torch.equal(before, output(network))


def output(network):
    result = network(image)
    return result["last"] if isinstance(result, dict) else result


seen = []
for model, name, last in (
    ("squeezenet1_0", "features.9", "features.12"),
    ("squeezenet1_0", "features.11", "features.12"),
    ("resnet50", "layer4.0", "layer4"),
):
    network = getattr(torchvision.models, model)(weights=None).eval()
    extractor = create_feature_extractor(network, {last: "last"})
    seen.append((calls(network, name), calls(extractor, name)))
    kinds = [type(each.get_submodule(name)).__name__ for each in (network, extractor)]
    words = [f"{count} call{'' if count == 1 else 's'}" for count in seen[-1]]
    print(f"{model} {name} {kinds[0]}: network {words[0]}, extractor {words[1]}, there a {kinds[1]}")

network = torchvision.models.squeezenet1_0(weights=None).features.eval()
extractor = create_feature_extractor(network, {"12": "last"})
changes = zeroed(extractor, "9"), zeroed(network, "9")
print(f"the hook on features.9 changes the output: network {changes[1]}, extractor {changes[0]}")
if seen != [(1, 0), (1, 1), (1, 0)] or changes != (False, True):
    sys.exit("this has changed")
PY
"$work/venv/bin/python" "$work/hooks.py"
