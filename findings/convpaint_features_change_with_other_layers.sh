#!/usr/bin/env bash
# napari-convpaint 1.2.0: the features of a layer of VGG16 depend on which deeper layers are chosen with it.
#
# A hook keeps the output of each chosen convolution. torchvision's VGG16 applies its ReLUs in place, so that the ReLU
# after a convolution overwrites the tensor that was kept. The network stops after the last chosen layer, whose output
# therefore stays as it is. The same 64 channels of features.0 thus have negative values if the layer is chosen alone,
# and none if features.2 is chosen too. A list whose layers are not in the order of the network gives fewer features,
# without a message: the network stops after the layer that is last in the list.
#
# Output seen, for 64x64 pixels of noise and random weights:
#   features.0 alone: 64 features, negative values
#   features.0, features.2: 128 features, no negative values in the first 64
#   these are the first ones after a ReLU: True
#   features.2, features.0: 64 features
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check napari-convpaint==1.2.0 catboost==1.2.10 napari==0.9.2 \
    pyside6-essentials==6.12.0 torch==2.15.0 torchvision==0.29.2

cat > "$work/layers.py" <<'PY'
import sys
import warnings
from pathlib import Path

import numpy as np
import torch
import torchvision

warnings.simplefilter("ignore")
torch.manual_seed(0)
weights = Path.home() / ".cache/torch/hub/checkpoints/vgg16-397923af.pth"  # in place of a download
weights.parent.mkdir(parents=True)
torch.save(torchvision.models.vgg16(weights=None).state_dict(), weights)

from napari_convpaint import ConvpaintModel  # noqa: E402

image = np.random.default_rng(0).integers(0, 256, (3, 64, 64), np.uint8)
names = ConvpaintModel(fe_name="vgg16").get_fe_layer_keys()


def features(*layers):
    chosen = [names[layer] for layer in layers]
    model = ConvpaintModel(fe_name="vgg16", fe_layers=chosen, fe_scalings=[1], channel_mode="rgb")
    return model.get_feature_image(image)


alone, both, turned = features(0), features(0, 1), features(1, 0)
relu = np.allclose(np.maximum(alone, 0), both[:64], atol=1e-5)
print(f"features.0 alone: {len(alone)} features, {'negative' if alone.min() < 0 else 'no negative'} values")
print(f"features.0, features.2: {len(both)} features, {'' if both[:64].min() < 0 else 'no '}negative values in the first 64")
print(f"these are the first ones after a ReLU: {relu}")
print(f"features.2, features.0: {len(turned)} features")
if (len(alone), alone.min() < 0, len(both), both[:64].min() < 0, relu, len(turned)) != (64, True, 128, False, True, 64):
    sys.exit("this has changed")
PY
mkdir "$work/home"
HOME="$work/home" QT_QPA_PLATFORM=offscreen "$work/venv/bin/python" "$work/layers.py"
