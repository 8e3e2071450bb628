"""Drop path and gradient checkpointing, which have an effect in training only."""

import math

import pytest
import timm
import torch
import torchvision
from helpers.networks import build, stage_info
from torch import nn
from torchvision.models.vision_transformer import VisionTransformer

from hypercolumns.errors import HypercolumnsError
from hypercolumns.models.backbones import Backbone
from hypercolumns.models.classifiers import MLPClassifier
from hypercolumns.models.extractor import HypercolumnExtractor
from hypercolumns.models.segmenter import Segmenter

VIT, CNN = ("timm/test_vit", ["blocks.0", "blocks.2"]), ("timm/test_resnet", ["layer1", "layer3"])


def gradients(backbone, images):
    """Return the maps, the gradients and the saved bytes of a step in training mode with a fixed seed."""
    saved = 0

    def note(values):
        nonlocal saved
        saved += values.nbytes
        return values

    torch.manual_seed(0)
    with torch.autograd.graph.saved_tensors_hooks(note, lambda values: values):
        maps = backbone.train()(images)
        total = sum((cells * torch.linspace(-1, 1, cells.numel()).view_as(cells)).sum() for cells in maps)
    total.backward()
    grads = {name: values.grad for name, values in backbone.named_parameters() if values.requires_grad}
    return [cells.detach() for cells in maps], grads, saved


def compare_gradients(plain, checkpointed, images):
    """Check that gradient checkpointing holds less and changes neither maps nor gradients, also with dropout."""
    maps, expected, held = gradients(plain, images)
    same, again, less = gradients(checkpointed, images)
    assert all(map(torch.equal, maps, same))
    assert expected.keys() == again.keys()
    for name, gradient in expected.items():
        assert torch.allclose(gradient, again[name], rtol=1e-4, atol=1e-5 * float(gradient.abs().max())), name
    assert less < 0.7 * held


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


def test_grad_checkpointing_keeps_the_gradients():
    images, settings = torch.rand(2, 3, 64, 64), {"trainable": "all", "drop_path": 0.3}
    compare_gradients(build(*VIT, **settings), build(*VIT, grad_checkpointing=True, **settings), images)


def test_grad_checkpointing_of_torchvision(monkeypatch):
    def make():
        return VisionTransformer(32, 16, 2, 2, 16, 32, dropout=0.2)

    monkeypatch.setattr(torchvision.models, "get_model_builder", lambda name: make)
    settings = {"taps": ["encoder.layers.encoder_layer_0", "encoder.layers.encoder_layer_1"], "trainable": "all"}
    plain, again = (Backbone("small_vit", grad_checkpointing=choice, **settings) for choice in (False, True))
    compare_gradients(plain, again, torch.rand(2, 3, 48, 64))


def test_grad_checkpointing_with_frozen_blocks():
    images = torch.rand(2, 3, 64, 64)
    _, plain, _ = gradients(build(*VIT, trainable=1), images)
    _, again, _ = gradients(build(*VIT, trainable=1, grad_checkpointing=True), images)
    assert {name.split(".")[2] for name in again} == {"1", "2"}
    assert all(torch.allclose(gradient, again[name], rtol=1e-4, atol=1e-4) for name, gradient in plain.items())


def test_bf16_step_is_nearly_that_of_fp32():
    """Of a transformer: most labels are the same, and the gradients point the same way."""
    backbone, images = build(*VIT, trainable="all"), torch.rand(2, 3, 48, 64)
    torch.manual_seed(0)
    classifier = MLPClassifier(backbone.channels, 3, hidden=8)
    segmenter = Segmenter(HypercolumnExtractor(backbone), classifier, ["a", "b", "c"])
    labels, gradients = [], []
    for half in (False, True):
        segmenter.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            labels.append(segmenter.labels(images))
            loss = nn.functional.cross_entropy(segmenter(images), labels[0].long())
        loss.backward()
        gradients.append(torch.cat([values.grad.flatten() for values in segmenter.parameters()]))
    assert (labels[0] == labels[1]).float().mean() > 0.9
    assert 0.98 < torch.cosine_similarity(*gradients, dim=0) < 1.02


@pytest.mark.parametrize(
    ("network", "tap", "map_of_tap", "message"),
    [
        (
            "timm/test_maxvit",
            "stages.0",
            (32, 4, 160),
            r"trained BatchNorm layers of timm/test_maxvit .* again in each step, and update their statistics twice",
        ),
        ("timm/xcit_nano_12_p16_224", "blocks.0", (128, 16, 224), r"twice"),
        ("timm/pit_ti_224", "transformers.0", (64, 8, 224), "is not possible for timm/pit_ti_224 in timm; set"),
    ],
)
def test_grad_checkpointing_is_refused_for(network, tap, map_of_tap, message):
    with pytest.raises(HypercolumnsError, match=f"grad_checkpointing=true .*{message}"):
        build(network, [tap], info=stage_info(*map_of_tap), trainable="all", grad_checkpointing=True)


def test_checkpointing_without_effect_is_refused(monkeypatch):
    monkeypatch.setattr(timm.models.VisionTransformer, "set_grad_checkpointing", lambda network, enable: None)
    with pytest.raises(HypercolumnsError, match="grad_checkpointing=true has no effect on timm/test_vit: none of its"):
        build(*VIT, trainable=1, grad_checkpointing=True)


def test_reentrant_checkpointing_is_refused():
    """timm reads the variable when it is imported; with it, the first trained block would get no gradients."""
    timm.layers.set_reentrant_ckpt(True)
    try:
        with pytest.raises(HypercolumnsError, match="TIMM_REENTRANT_CKPT is set; unset it"):
            build(*VIT, trainable=1, grad_checkpointing=True)
    finally:
        timm.layers.set_reentrant_ckpt(False)


@pytest.mark.parametrize("trainable", [1, "all"])
def test_recomputed_layers_are_in_trained_blocks(trainable):
    """The stem is not computed again, and neither is a frozen block."""
    backbone = build(*VIT, trainable=trainable, grad_checkpointing=True)
    blocks = {path.split(".")[1] for path in backbone.tapped.recomputed([]) if path.startswith("blocks.")}
    assert blocks == ({"1", "2"} if trainable == 1 else {"0", "1", "2"})
    assert not any(path.startswith("patch_embed") for path in backbone.tapped.recomputed([]))


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
        (
            "squeezenet1_0",
            ["features.0"],
            {"grad_checkpointing": True},
            "grad_checkpointing=true is possible for transformers and hybrids",
        ),
        (*VIT, {"grad_checkpointing": 1}, "grad_checkpointing=1 must be true or false"),
    ],
)
def test_what_is_not_possible_is_refused(network, taps, settings, message):
    normalisation = {"mean": None, "std": None} if network.startswith("timm") else {}
    with pytest.raises(HypercolumnsError, match=message):
        Backbone(network, taps, **settings, **normalisation)
