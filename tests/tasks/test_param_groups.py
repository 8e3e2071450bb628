import copy
from functools import partial

import pytest
import timm
import torch
from helpers.networks import FIRES
from torch import nn

from hypercolumns.errors import ArgumentError
from hypercolumns.models.backbones import Backbone
from hypercolumns.models.classifiers import MLPClassifier
from hypercolumns.tasks import schedules
from hypercolumns.tasks.optimization import optimizer_with_schedule
from hypercolumns.tasks.param_groups import ParamGroupConfig, is_decayed

CONSTANT = partial(schedules.cosine, min_lr_ratio=1)


@pytest.fixture(scope="module")
def backbone():
    return Backbone("squeezenet1_0", ["features.0", FIRES[0], FIRES[1]], trainable="all")


@pytest.fixture
def classifier(backbone):
    return MLPClassifier(backbone.channels, 3, hidden=4)


def optimizer(groups, steps=10, schedule=CONSTANT):
    def make(parameters):
        return torch.optim.AdamW(parameters, lr=1e-3, weight_decay=0.5)

    return optimizer_with_schedule(groups, make, schedule, steps)


def groups(configured):
    return {group.get("name"): group for group in configured["optimizer"].param_groups}


def test_default_is_one_group_in_module_order(backbone, classifier):
    (only,) = groups(optimizer(ParamGroupConfig().groups(classifier, backbone))).values()
    assert "name" not in only
    assert [*map(id, only["params"])] == [*map(id, [*backbone.parameters(), *classifier.parameters()])]


def test_backbone_lr_makes_a_separate_group(backbone, classifier):
    by_name = groups(optimizer(ParamGroupConfig(backbone_lr=1e-5).groups(classifier, backbone)))
    assert {name: group["lr"] for name, group in by_name.items()} == {"classifier": 1e-3, "backbone": 1e-5}
    assert list(by_name) == ["classifier", "backbone"]  # tables show the learning rate of the first group
    assert [*map(id, by_name["backbone"]["params"])] == [*map(id, backbone.parameters())]


def test_layer_decay_lowers_rates_towards_image(backbone, classifier):
    configured = optimizer(
        ParamGroupConfig(backbone_lr=1e-4, layer_decay=0.5).groups(classifier, backbone), 4, schedules.cosine
    )
    names = {id(parameter): name for name, parameter in backbone.body.named_parameters()}
    by_name = groups(configured)
    layers = {
        name: sorted({names[id(parameter)].split(".")[1] for parameter in group["params"]})
        for name, group in by_name.items()
        if name != "classifier"
    }
    assert layers == {"backbone_1": ["0"], "backbone_2": ["3"], "backbone_3": ["4"]}
    rates = {"classifier": 1e-3, "backbone_1": 0.25e-4, "backbone_2": 0.5e-4, "backbone_3": 1e-4}
    assert {name: group["lr"] for name, group in by_name.items()} == pytest.approx(rates)
    for _ in range(2):  # halfway through the cosine, every rate is halved
        configured["optimizer"].step()
        configured["lr_scheduler"]["scheduler"].step()
    assert {name: group["lr"] / 0.5 for name, group in by_name.items()} == pytest.approx(rates)


def test_layer_decay_without_backbone_lr(backbone, classifier):
    """Without `backbone_lr`, the deepest tap learns at the classifier's rate."""
    by_name = groups(optimizer(ParamGroupConfig(layer_decay=0.1).groups(classifier, backbone)))
    assert by_name["backbone_3"]["lr"] == 1e-3
    assert by_name["backbone_1"]["lr"] == pytest.approx(1e-5)


def test_norms_and_biases_have_no_weight_decay(classifier):
    backbone = Backbone("resnet18", ["bn1", "layer1.0.bn1"], trainable="all")
    by_name = groups(
        optimizer(ParamGroupConfig(backbone_lr=1e-4, no_decay_norm_and_bias=True).groups(classifier, backbone))
    )
    assert {name: group["weight_decay"] for name, group in by_name.items()} == {
        "classifier": 0.5,
        "classifier_biases": 0,
        "backbone": 0.5,
        "backbone_biases": 0,
    }
    assert by_name["backbone_biases"]["lr"] == 1e-4
    undecayed = {*map(id, by_name["backbone_biases"]["params"])}
    norms = [layer for layer in backbone.modules() if isinstance(layer, nn.BatchNorm2d)]
    assert undecayed == {id(parameter) for norm in norms for parameter in norm.parameters()}
    assert sum(len(group["params"]) for group in by_name.values()) == len([*backbone.parameters()]) + 4


def test_frozen_parameters_are_in_no_group(classifier):
    backbone = Backbone("squeezenet1_0", ["features.0", FIRES[0], FIRES[1]], trainable=1)
    by_name = groups(optimizer(ParamGroupConfig(layer_decay=0.5).groups(classifier, backbone)))
    assert list(by_name) == ["classifier", "backbone_3"]


def test_every_parameter_belongs_to_one_tap(backbone):
    """Parameters outside torch's layers, such as ConvNeXt's `layer_scale`, belong to a tap, too."""
    convnext = Backbone("convnext_tiny", ["features.1.0.block.0", "features.1.0"], trainable="all")
    for network in (backbone, convnext):
        layers = network.tapped.layer_groups()
        assert len(layers) == len(network.tap_modules)
        assert sorted(id(parameter) for layer in layers for parameter in layer) == sorted(map(id, network.parameters()))
    assert any(
        parameter is convnext.body.get_parameter("features.1.0.layer_scale")
        for parameter in convnext.tapped.layer_groups()[1]
    )


def test_layer_decay_counts_blocks(classifier):
    """Of four groups, the embeddings have the rate 1e-3 * 0.5^3; blocks without a tap count too."""
    network = Backbone("timm/test_vit", ["blocks.0", "blocks.2"], mean=None, std=None, trainable="all", norm=True)
    names = {id(parameter): name for name, parameter in network.body.named_parameters()}
    by_name = groups(optimizer(ParamGroupConfig(layer_decay=0.5).groups(classifier, network)))
    rates = {name: group["lr"] for name, group in by_name.items()}
    assert rates == {"classifier": 1e-3, **{f"backbone_{i}": 1e-3 * 0.5 ** (4 - i) for i in (1, 2, 3, 4)}}
    places = {
        name: {".".join(names[id(parameter)].split(".")[:2]) for parameter in group["params"]}
        for name, group in by_name.items()
        if name != "classifier"
    }
    assert places == {
        "backbone_1": {"patch_embed.proj", "pos_embed", "cls_token"},
        "backbone_2": {"blocks.0"},
        "backbone_3": {"blocks.1"},
        "backbone_4": {"blocks.2", "norm.weight", "norm.bias"},
    }


def test_layer_groups_before_last_tap_only():
    network = Backbone("timm/test_vit", ["blocks.1"], mean=None, std=None, trainable=1)
    assert [len(group) for group in network.tapped.layer_groups()] == [4, 12, 12]


@pytest.mark.parametrize(
    "model",
    ["test_vit4", "eva02_tiny_patch14_224", "beit_base_patch16_224", "swin_tiny_patch4_window7_224", "levit_128"],
)
def test_decay_leaves_out_what_timm_leaves_out(model):
    with torch.device("meta"):
        network = timm.create_model(model)
    undecayed = {name for name, parameter in network.named_parameters() if not is_decayed(name, parameter)}
    listed = network.no_weight_decay() & dict(network.named_parameters()).keys()
    assert listed
    assert listed <= undecayed
    weights = {f"{name}.weight" for name, layer in network.named_modules() if isinstance(layer, nn.Linear | nn.Conv2d)}
    assert weights.isdisjoint(undecayed)


def test_layer_scale_of_convnext_is_not_decayed(classifier):
    network = Backbone("convnext_tiny", ["features.1.0"], trainable="all")  # its layer scale is (96, 1, 1)
    by_name = groups(optimizer(ParamGroupConfig(no_decay_norm_and_bias=True).groups(classifier, network)))
    scale = network.body.get_parameter("features.1.0.layer_scale")
    assert any(parameter is scale for parameter in by_name["classifier_biases"]["params"])


def test_groups_are_deterministic(backbone, classifier):
    twin = copy.deepcopy(backbone)
    first, second = (
        [
            (name, [tuple(parameter.shape) for parameter in group["params"]])
            for name, group in groups(optimizer(ParamGroupConfig(1e-4, 0.9, True).groups(classifier, network))).items()
        ]
        for network in (backbone, twin)
    )
    assert first == second


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"backbone_lr": -1}, r"backbone_lr=-1 must be a number of at least 0"),
        ({"backbone_lr": "slow"}, r"backbone_lr=slow must be a number of at least 0"),
        ({"backbone_lr": 1e38}, r"backbone_lr=1e\+38 must be a number of at least 0 and below 1e\+30"),
        ({"layer_decay": 1.5}, r"layer_decay=1\.5 must be a number from 0 to 1"),
        ({"layer_decay": 0}, r"layer_decay=0 must be above 0 and at most 1, or null; to freeze shallow layers, set"),
        ({"no_decay_norm_and_bias": "some"}, r"no_decay_norm_and_bias=some must be true or false"),
    ],
)
def test_invalid_values_raise(settings, message):
    with pytest.raises(ArgumentError, match=f"^{message}"):
        ParamGroupConfig(**settings)
