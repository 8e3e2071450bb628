"""Transformers and hybrids, which are read by their blocks: maps, sizes, centres, trained layers, and messages."""

import pytest
import timm
import torch
import torchvision
from helpers.networks import build, stage_info
from torch import nn

from hypercolumns.errors import HypercolumnsError
from hypercolumns.models import alignment
from hypercolumns.models.backbones import Backbone, networks
from hypercolumns.models.classifiers import MLPClassifier
from hypercolumns.models.extractor import HypercolumnExtractor
from hypercolumns.models.segmenter import Segmenter

ROTARY = "eva02_tiny_patch14_224"
PLAIN = ("test_vit", "test_vit4", ROTARY)  # without and with registers; rotary angles
FIXED = "test_vit_relpos"
# Windows of attention and filters; one size; filters alone, whose maps timm holds as (B, h, w, C).
HYBRID = ("test_maxvit", "test_coatnet", "test_mambaout")


def own_maps(backbone, images, norm=False):
    """Return the maps that timm's whole network computes, for images of a size that it takes."""
    model = backbone.network.removeprefix("timm/")
    network = timm.create_model(model, **({"dynamic_img_size": True} if model in PLAIN else {})).eval()
    missing = network.load_state_dict(backbone.body.state_dict(), strict=False).missing_keys
    assert all(name.startswith(("head", "norm", "fc_norm", "final_")) for name in missing), missing
    names = [info["module"] for info in network.feature_info]
    with torch.no_grad():
        return network.forward_intermediates(
            (images - backbone.mean) / backbone.std,
            indices=[names.index(modules[0]) for modules in backbone.tap_modules],
            norm=norm,
            intermediates_only=True,
        )


def padded(images, patch):
    """Continue images to whole patches by repeating their last row and column."""
    rows, columns = (-side % patch for side in images.shape[2:])
    return nn.functional.pad(images, (0, columns, 0, rows), mode="replicate")


@pytest.mark.parametrize("size", [(101, 150), (64, 48), (5, 9)])
@pytest.mark.parametrize("model", PLAIN)
def test_maps_equal_those_of_timm(model, size):
    backbone, images = build(f"timm/{model}"), torch.rand(2, 3, *size, generator=torch.Generator().manual_seed(0))
    patch = 14 if model == ROTARY else 16
    with torch.no_grad():
        maps = backbone(backbone.pad(images))
    expected = own_maps(backbone, padded(images, patch))
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(maps, expected, strict=True))
    assert [tuple(cells.shape[2:]) for cells in maps] == [(-(-size[0] // patch), -(-size[1] // patch))] * len(maps)


@pytest.mark.parametrize(("model", "multiple"), [*zip(HYBRID, (160, 1, 1), strict=True)])
def test_maps_of_hybrids_equal_those_of_timm(model, multiple):
    backbone, images = build(f"timm/{model}"), torch.rand(2, 3, 70, 181, generator=torch.Generator().manual_seed(0))
    assert (backbone.multiple, backbone.fixed_size) == (multiple, (160, 160) if model == "test_coatnet" else None)
    extractor = HypercolumnExtractor(backbone)
    seen = extractor.view(images).seen
    with torch.no_grad():
        maps = backbone(seen.crop(slice(0, seen.size[0]), slice(0, seen.size[1])))
    resized = nn.functional.interpolate(images, (160, 160), mode="bilinear", antialias=True)
    expected = own_maps(backbone, resized if backbone.fixed_size else padded(images, multiple))
    for ours, theirs in zip(maps, expected, strict=True):
        assert torch.allclose(ours, theirs, rtol=0, atol=2e-6 * float(theirs.abs().max()))


def test_norm_normalises_every_map():
    backbone, images = build("timm/test_vit", norm=True), torch.rand(1, 3, 48, 64)
    with torch.no_grad():
        maps = backbone(images)
    for ours, theirs in zip(maps, own_maps(backbone, images, norm=True), strict=True):
        assert torch.equal(ours, theirs)
    assert not torch.allclose(maps[0], build("timm/test_vit")(images)[0], atol=0.1)


def test_torchvision_maps_equal_its_blocks():
    backbone = Backbone("vit_b_16", ["encoder.layers.encoder_layer_0", "encoder.layers.encoder_layer_2"]).eval()
    network = torchvision.models.vit_b_16().eval()
    network.load_state_dict(backbone.body.state_dict(), strict=False)
    images = torch.rand(1, 3, 224, 224)
    with torch.no_grad():
        tokens = network._process_input((images - backbone.mean) / backbone.std)
        tokens = torch.cat([network.class_token, tokens], dim=1) + network.encoder.pos_embedding
        expected = [tokens := block(tokens) for block in network.encoder.layers[:3]]
        maps = backbone(images)
        assert [tuple(cells.shape) for cells in backbone(backbone.pad(images[..., :50, :70]))] == [(1, 768, 4, 5)] * 2
    for ours, theirs in zip(maps, (expected[0], expected[2]), strict=True):
        # Another kernel computes attention, which needs less memory and rounds otherwise.
        assert torch.allclose(ours[0, :, 3, 5], theirs[0, 1 + 3 * 14 + 5], atol=1e-5)


def test_default_taps_are_quarters_of_the_blocks():
    backbone = Backbone("timm/deit_tiny_patch16_224", None, mean=None, std=None)
    assert [tap.name for tap in backbone.taps] == ["blocks.2", "blocks.5", "blocks.8", "blocks.11"]


@pytest.mark.parametrize("model", PLAIN)
def test_gradient_is_sharpest_at_declared_centre(model):
    """A pixel's gradient at a cell, squared and averaged over noise, is centred on the patch of the cell."""
    backbone = build(f"timm/{model}")
    patch = 14 if model == ROTARY else 16
    images = torch.rand(8, 3, 5 * patch, 7 * patch, generator=torch.Generator().manual_seed(0)).requires_grad_()
    row, column = 2, 3
    cells = backbone(images)[0]  # in the first block, attention spreads least
    weights = torch.randn(cells.shape[1], generator=torch.Generator().manual_seed(1))
    (gradient,) = torch.autograd.grad((cells[:, :, row, column] @ weights).sum(), images)
    energy = gradient.square().sum((0, 1))
    energy = (energy - energy.median()).clamp(min=0) ** 2  # leaves out what attention spreads over the image
    for axis, cell in ((0, row), (1, column)):
        profile = energy.sum(1 - axis)
        centre = float((profile * torch.arange(len(profile))).sum() / profile.sum())
        assert centre == pytest.approx((patch - 1) / 2 + patch * cell, abs=2)
        grid = backbone.taps[0].axes[axis]
        assert (grid.stride, grid.offset, grid.rf_extent) == (patch, (patch - 1) / 2, None)


@pytest.mark.parametrize("model", [*PLAIN, FIXED, *HYBRID])
def test_dense_equals_points_and_upsampling(model):
    backbone = build(f"timm/{model}")
    segmenter = Segmenter(
        HypercolumnExtractor(backbone), MLPClassifier(backbone.channels, 3, hidden=8), ["a", "b", "c"]
    ).eval()
    images = torch.rand(2, 3, 45, 61, generator=torch.Generator().manual_seed(0))
    points = torch.cartesian_prod(torch.arange(0, 45, 4), torch.arange(0, 61, 5)).repeat(2, 1, 1)
    with torch.no_grad():
        logits = segmenter(images)
        sparse = segmenter.logits_at(images, points)
        hypercolumns = segmenter.extractor(images).permute(0, 2, 3, 1)
        expected = segmenter.classifier(hypercolumns.flatten(0, 2), None).view(2, 45, 61, 3).permute(0, 3, 1, 2)
        single = segmenter(images[1:])
    scale = float(logits.max() - logits.min())
    assert torch.allclose(logits, expected, atol=1e-5 * scale)
    assert torch.allclose(logits[:, :, points[0, :, 0], points[0, :, 1]].mT, sparse, atol=1e-5 * scale)
    assert torch.allclose(logits[1:], single, atol=1e-5 * scale)


def test_one_size_is_resized_and_refuses_others():
    backbone = build(f"timm/{FIXED}")
    assert backbone.fixed_size == (160, 160)
    extractor = HypercolumnExtractor(backbone)
    assert extractor.resize == (160, 160)
    assert extractor(torch.rand(1, 3, 40, 50)).shape == (1, backbone.channels, 40, 50)
    with pytest.raises(HypercolumnsError, match=r"takes images of 160x160 pixels only; set resize=\[160,160\]"):
        HypercolumnExtractor(backbone, resize=(96, 96))


def test_model_file_keeps_what_is_needed(tmp_path):
    for model, settings in (("test_vit", {"norm": True}), (FIXED, {})):
        backbone = build(f"timm/{model}", ["blocks.0", "blocks.2"], **settings)
        segmenter = Segmenter(
            HypercolumnExtractor(backbone), MLPClassifier(backbone.channels, 2, hidden=4), ["a", "b"]
        ).eval()
        segmenter.save(tmp_path / f"{model}.safetensors")
        loaded = Segmenter.load(tmp_path / f"{model}.safetensors")
        images = torch.rand(1, 3, 30, 50)
        with torch.no_grad():
            assert torch.equal(segmenter(images), loaded(images))
        assert loaded.backbone.norm == backbone.norm


def test_trainable_trains_blocks_of_last_taps():
    backbone = build("timm/test_vit4", ["blocks.1", "blocks.3"], trainable=1)
    trained = {name for name, values in backbone.body.named_parameters() if values.requires_grad}
    assert trained == {
        name for name, _ in backbone.body.named_parameters() if name.startswith(("blocks.2", "blocks.3"))
    }
    backbone.train()
    modes = {name: module.training for name, module in backbone.body.named_modules()}
    assert modes["blocks.3.attn.attn_drop"]
    assert not modes["blocks.1.attn.attn_drop"]
    assert not modes["pos_drop"]


def test_last_norm_is_trained_with_all():
    backbone = build("timm/test_vit", ["blocks.1", "blocks.3"], trainable="all", norm=True)
    assert all(values.requires_grad for values in backbone.body.parameters())


@pytest.mark.parametrize(
    ("model", "taps", "settings", "message"),
    [
        ("test_vit", ["blocks.1", "blocks.0"], {}, "must list the blocks of timm/test_vit from shallow to deep"),
        ("test_vit", ["blocks.9"], {}, r"taps names blocks.9, but the maps .* choose from blocks.0, blocks.1"),
        ("test_resnet", ["layer1"], {"norm": True}, "norm=true has no effect on the map of layer1: .* set norm=false"),
        ("test_vit4", ["blocks.1"], {"norm": True}, "norm=true has no effect on the map of blocks.1"),
    ],
)
def test_wrong_taps_are_told(model, taps, settings, message):
    with pytest.raises(HypercolumnsError, match=message):
        Backbone(f"timm/{model}", taps, mean=None, std=None, **settings)


def test_half_pixel_uses_the_padded_size():
    """The map of an image of 20 pixels shows 32 pixels: the cells are centred at 7.5 and 23.5, as exact."""
    extractor = HypercolumnExtractor(build("timm/test_vit"), alignment="half_pixel")
    (window,) = extractor.windows(torch.rand(1, 3, 20, 20))
    assert window.maps[0].row_centres.tolist() == [7.5, 23.5]
    assert alignment.cell_centres(extractor.backbone.taps[0].axes[0], 2, 20, "exact").tolist() == [7.5, 23.5]


def test_parameters_that_no_tap_uses_are_frozen(monkeypatch):
    """A branch of a network may end in a class token alone, which is in no map."""

    def make():
        network = timm.create_model("test_vit", dynamic_img_size=True)
        network.blocks[1].branch = nn.Linear(2, 2)
        return network

    monkeypatch.setitem(networks.OWN, "branched", make)
    backbone = Backbone("branched", ["blocks.1"], trainable="all")
    sum(cells.sum() for cells in backbone(torch.rand(1, 3, 32, 32))).backward()
    frozen = {name for name, values in backbone.body.named_parameters() if not values.requires_grad}
    assert frozen == {"blocks.1.branch.weight", "blocks.1.branch.bias"}
    assert {name for name, values in backbone.body.named_parameters() if values.grad is None} == frozen


def test_layer_groups_of_swin_are_its_stages():
    backbone = Backbone("timm/swin_tiny_patch4_window7_224", ["layers.2"], info=stage_info(384, 16, 224))
    names = {id(values): name for name, values in backbone.body.named_parameters()}
    places = [
        {".".join(names[id(values)].split(".")[:2]) for values in group} for group in backbone.tapped.layer_groups()
    ]
    assert places == [{"patch_embed.proj", "patch_embed.norm"}, {"layers.0"}, {"layers.1"}, {"layers.2"}]


def test_taps_are_the_maps_that_timm_lists():
    """The module of a stage of EfficientViM ends in a layer that halves the map; timm's map is the one before."""
    backbone = build("timm/efficientvim_m1")
    assert [(tap.channels, tap.axes[0].stride) for tap in backbone.taps] == [(128, 16), (192, 32), (320, 64)]


def test_maps_of_one_path_have_names_of_their_own():
    """timm gives the maps of both branches of CrossViT the same path."""
    backbone = build("timm/crossvit_tiny_240", ["blocks.2", "blocks.2-2"])
    images = torch.rand(1, 3, 60, 70)
    reference = timm.create_model("crossvit_tiny_240", features_only=True).eval()
    reference.load_state_dict({f"model.{name}": values for name, values in backbone.body.state_dict().items()})
    with torch.no_grad():
        maps, expected = backbone(images), reference((images - backbone.mean) / backbone.std)
    assert [tuple(cells.shape) for cells in maps] == [(1, 96, 20, 20), (1, 192, 14, 14)]
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(maps, expected, strict=True))


def test_layer_groups_follow_maps_not_names():
    """The maps of Hiera are those of the blocks 0, 2, 9 and 11; block 1 comes before the second map."""
    backbone = Backbone("timm/hiera_tiny_224", None, mean=None, std=None)
    names = {id(values): name for name, values in backbone.body.named_parameters()}
    groups = [{names[id(values)].partition(".mlp")[0] for values in group} for group in backbone.tapped.layer_groups()]
    assert [[f"blocks.{number}" in group for number in (0, 1, 2, 8, 9, 10, 11)] for group in groups] == [
        [False] * 7,
        [True, False, False, False, False, False, False],
        [False, True, True, False, False, False, False],
        [False, False, False, True, True, False, False],
        [False, False, False, False, False, True, True],
    ]
    assert "pos_embed" in groups[0]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "fixed", "multiple"),
    [
        ("mvitv2_tiny", (224, 224), 1),  # a larger image needs positions that its table lacks
        ("vitamin_small_224", None, 16),  # other sizes give maps with other channels, and no error
        ("vit_tiny_r_s16_p8_224", None, 4),  # rounds 61 pixels to another number of patches than its stem gives
        ("gemma4_vit_167m", None, 16),  # reads the size of its maps from the values of positions
    ],
)
def test_sizes_that_only_values_show(model, fixed, multiple):
    backbone = Backbone(f"timm/{model}", None)
    assert (backbone.fixed_size, backbone.multiple) == (fixed, multiple)
