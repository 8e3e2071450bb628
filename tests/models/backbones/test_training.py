"""Drop path, which has an effect in training only."""

import math

import pytest
import torch

from hypercolumns.errors import HypercolumnsError
from hypercolumns.models.backbones import Backbone

VIT, CNN = ("timm/test_vit", ["blocks.0", "blocks.2"]), ("timm/test_resnet", ["layer1", "layer3"])


def build(network, taps, **settings):
    """Build a backbone whose parameters hide nothing: timm's layer scales, for example, begin near 0."""
    backbone = Backbone(network, taps, mean=None, std=None, **settings)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for values in backbone.parameters():
            if values.ndim < 2:
                values.uniform_(0.5, 1.5, generator=generator)
    return backbone


@pytest.mark.parametrize(("network", "taps"), [VIT, pytest.param(*CNN, marks=pytest.mark.slow(seconds=10))])
def test_drop_path_changes_trained_layers_only(network, taps):
    backbone, images = build(network, taps, trainable=1, drop_path=0.5), torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        expected = build(network, taps).eval()(images)
        assert all(map(torch.equal, backbone.eval()(images), expected))
        frozen, trained = zip(*(backbone.train()(images) for _ in range(4)), strict=True)
        assert all(torch.equal(cells, frozen[0]) for cells in frozen)
        assert not all(torch.equal(cells, trained[0]) for cells in trained)
        still = build(network, taps, drop_path=0.5).train()
        assert all(map(torch.equal, still(images), expected))


def test_drop_path_leaves_out_whole_branches():
    """The rates of six blocks rise from 0 to 0.5; both branches of the third block are left out at 0.2 times 0.2."""
    backbone = Backbone(*VIT, mean=None, std=None, trainable="all", drop_path=0.5)
    block, tokens = backbone.train().body.blocks[2], torch.rand(2000, 5, 64)
    torch.manual_seed(0)
    with torch.no_grad():
        left_out = (block(tokens) == tokens).flatten(1).all(1).float().mean()
    assert float(left_out) == pytest.approx(0.04, abs=4 * math.sqrt(0.04 * 0.96 / 2000))


@pytest.mark.parametrize(
    ("network", "taps", "settings", "message"),
    [
        (*VIT, {"drop_path": 1}, "drop_path=1 must be a number of at least 0 and below 1"),
        ("resnet18", ["bn1"], {"drop_path": 0.1}, "drop_path=0.1 is for networks of timm, and resnet18 is none"),
        (
            "timm/vgg11",
            ["features.0"],
            {"drop_path": 0.1},
            "drop_path=0.1 is not possible for vgg11: .* set drop",
        ),
        (VIT[0], ["blocks.0"], {"drop_path": 0.1}, "drop_path=0.1 has no effect on timm/test_vit: .* drop_path=null"),
    ],
)
def test_what_is_not_possible_is_refused(network, taps, settings, message):
    normalisation = {"mean": None, "std": None} if network.startswith("timm") else {}
    with pytest.raises(HypercolumnsError, match=message):
        Backbone(network, taps, **settings, **normalisation)
