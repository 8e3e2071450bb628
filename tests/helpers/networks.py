"""Backbones and small segmenters with random weights."""

import functools

import torch
import torchvision

from hypercolumns.models.backbones import Backbone
from hypercolumns.models.classifiers import GridClassifier, MLPClassifier
from hypercolumns.models.extractor import HypercolumnExtractor
from hypercolumns.models.segmenter import Segmenter

FIRES = [[f"features.{i}.expand1x1", f"features.{i}.expand3x3"] for i in (3, 4, 7, 9, 12)]
SQN = {"network": "squeezenet1_0", "taps": ["features.0", *FIRES]}
VGG = {"network": "vgg11", "taps": [f"features.{i}" for i in (0, 3, 8, 13, 18)]}
KINDS = {
    "plain": ([], MLPClassifier, {"hidden": 8}),
    "placed": (["pyramid:2", "pyramid:6", "local_mean:3", "coordinates"], GridClassifier, {"size": 3, "hidden": 8}),
}


@functools.cache
def vgg_weights() -> dict[str, torch.Tensor]:
    """Return random weights for the convolutions of VGG-11.

    The fully connected layers are left out: drawing their 120 million weights takes seconds.
    """
    with torch.random.fork_rng():  # a cached call leaves the global generator alone too
        torch.manual_seed(3)
        layers = torchvision.models.vgg.make_layers(torchvision.models.vgg.cfgs["A"])
        for layer in layers:
            if isinstance(layer, torch.nn.Conv2d):
                torch.nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")  # as torchvision does
    return layers.state_dict()


@functools.cache
def make_segmenter(kind: str) -> Segmenter:
    """Return a small segmenter with random weights; the caller must not change it.

    Its two network taps come with the context taps and the classifier of `KINDS[kind]`.
    """
    torch.manual_seed(3)
    contexts, head, settings = KINDS[kind]
    backbone = Backbone("squeezenet1_0", ["features.0", FIRES[0], *contexts], seed=3)
    classifier = head(backbone.channels, 3, **settings)
    classifier.set_statistics(torch.randn(backbone.channels), torch.rand(backbone.channels) + 0.5)
    return Segmenter(HypercolumnExtractor(backbone), classifier, ["ground", "cat", "dog"]).eval()


def build(network, taps=None, **settings):
    """Build a backbone of timm whose parameters hide nothing: timm's layer scales, for example, begin near 0."""
    backbone = Backbone(network, taps, mean=None, std=None, **settings).eval()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for values in backbone.parameters():
            if values.ndim < 2:
                values.uniform_(0.5, 1.5, generator=generator)
    return backbone


def stage_info(channels, stride, side):
    """Return what is known of a network that is read by blocks, with one tap and images of one size, see `Backbone`."""
    axis = {"stride": stride, "offset": (stride - 1) / 2, "rf_extent": None, "size_offset": 0}
    maps = [{"channels": channels, "axes": [axis, axis]}]
    return {"min_side": side, "fixed_size": [side, side], "shift_period": [1, 1], "maps": maps, "reader": "blocks"}
