import copy

import pytest
import torch
from conftest import FIRES
from torch import nn

from hypercolumns.errors import ArgumentError
from hypercolumns.models.backbones import Backbone
from hypercolumns.models.classifiers import MLPClassifier
from hypercolumns.tasks import schedules
from hypercolumns.tasks.optimization import optimizer_with_schedule
from hypercolumns.tasks.param_groups import ParamGroupConfig


@pytest.fixture(scope="module")
def backbone():
    return Backbone("squeezenet1_0", ["features.0", FIRES[0], FIRES[1]], trainable="all")


@pytest.fixture
def classifier(backbone):
    return MLPClassifier(backbone.channels, 3, hidden=4)


def optimizer(groups, steps=10, schedule=schedules.constant):
    def make(parameters):
        return torch.optim.AdamW(parameters, lr=1e-3, weight_decay=0.5)

    return optimizer_with_schedule(groups, make, schedule, steps)


def groups(made):
    return {group.get("name"): group for group in made["optimizer"].param_groups}


def test_where_nothing_differs_all_are_one_group_in_the_order_of_the_modules(backbone, classifier):
    (only,) = groups(optimizer(ParamGroupConfig().groups(classifier, backbone))).values()
    assert "name" not in only
    assert [*map(id, only["params"])] == [*map(id, [*backbone.parameters(), *classifier.parameters()])]


def test_the_backbone_has_a_rate_of_its_own(backbone, classifier):
    found = groups(optimizer(ParamGroupConfig(backbone_lr=1e-5).groups(classifier, backbone)))
    assert {name: group["lr"] for name, group in found.items()} == {"classifier": 1e-3, "backbone": 1e-5}
    assert list(found) == ["classifier", "backbone"]  # the first is the one that tables show
    assert [*map(id, found["backbone"]["params"])] == [*map(id, backbone.parameters())]


def test_layers_learn_the_less_the_nearer_they_are_to_the_image(backbone, classifier):
    made = optimizer(
        ParamGroupConfig(backbone_lr=1e-4, layer_decay=0.5).groups(classifier, backbone), 4, schedules.cosine
    )
    names = {id(parameter): name for name, parameter in backbone.body.named_parameters()}
    found = groups(made)
    layers = {
        name: sorted({names[id(one)].split(".")[1] for one in group["params"]})
        for name, group in found.items()
        if name != "classifier"
    }
    assert layers == {"backbone_1": ["0"], "backbone_2": ["3"], "backbone_3": ["4"]}
    rates = {"classifier": 1e-3, "backbone_1": 0.25e-4, "backbone_2": 0.5e-4, "backbone_3": 1e-4}
    assert {name: group["lr"] for name, group in found.items()} == pytest.approx(rates)
    for _ in range(2):  # half of the way down a cosine, all alike
        made["optimizer"].step()
        made["lr_scheduler"]["scheduler"].step()
    assert {name: group["lr"] / 0.5 for name, group in found.items()} == pytest.approx(rates)


def test_without_a_rate_of_its_own_layers_decay_from_that_of_all(backbone, classifier):
    found = groups(optimizer(ParamGroupConfig(layer_decay=0.1).groups(classifier, backbone)))
    assert found["backbone_3"]["lr"] == 1e-3
    assert found["backbone_1"]["lr"] == pytest.approx(1e-5)


def test_norms_and_biases_without_weight_decay(classifier):
    backbone = Backbone("resnet18", ["bn1", "layer1.0.bn1"], trainable="all")
    found = groups(
        optimizer(ParamGroupConfig(backbone_lr=1e-4, no_decay_norm_and_bias=True).groups(classifier, backbone))
    )
    assert {name: group["weight_decay"] for name, group in found.items()} == {
        "classifier": 0.5,
        "classifier_biases": 0,
        "backbone": 0.5,
        "backbone_biases": 0,
    }
    assert found["backbone_biases"]["lr"] == 1e-4
    undecayed = {id(one) for one in found["backbone_biases"]["params"]}
    norms = [one for layer in backbone.modules() if isinstance(layer, nn.BatchNorm2d) for one in layer.parameters()]
    assert undecayed == {*map(id, norms)}
    assert sum(len(group["params"]) for group in found.values()) == len([*backbone.parameters()]) + 4


def test_what_is_frozen_is_in_no_group(classifier):
    backbone = Backbone("squeezenet1_0", ["features.0", FIRES[0], FIRES[1]], trainable=1)
    found = groups(optimizer(ParamGroupConfig(layer_decay=0.5).groups(classifier, backbone)))
    assert list(found) == ["classifier", "backbone_3"]


def test_every_parameter_is_in_a_layer_of_its_own(backbone):
    """Also those outside of modules, such as ConvNeXt's scales."""
    convnext = Backbone("convnext_tiny", ["features.1.0.block.0", "features.1.0"], trainable="all")
    for one in (backbone, convnext):
        layers = one.tap_parameters()
        assert len(layers) == len(one.tap_modules)
        assert sorted(id(parameter) for layer in layers for parameter in layer) == sorted(map(id, one.parameters()))
    assert any(
        parameter is convnext.body.get_parameter("features.1.0.layer_scale")
        for parameter in convnext.tap_parameters()[1]
    )


def test_it_is_the_same_every_time(backbone, classifier):
    twin = copy.deepcopy(backbone)
    first, second = (
        [(name, [*map(tuple, (one.shape for one in group["params"]))]) for name, group in groups(made).items()]
        for made in (optimizer(ParamGroupConfig(1e-4, 0.9, True).groups(classifier, one)) for one in (backbone, twin))
    )
    assert first == second


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"backbone_lr": -1}, r"backbone_lr=-1 must be a number of at least 0"),
        ({"backbone_lr": "slow"}, r"backbone_lr=slow must be a number of at least 0"),
        ({"backbone_lr": 1e38}, r"backbone_lr=1e\+38 must be a number of at least 0 and below 1e\+30"),
        ({"layer_decay": 1.5}, r"layer_decay=1\.5 must be a number from 0 to 1"),
        ({"layer_decay": 0}, r"layer_decay=0 must be above 0, or null; the backbone's trainable=n freezes layers"),
        ({"no_decay_norm_and_bias": "some"}, r"no_decay_norm_and_bias=some must be true or false"),
    ],
)
def test_wrong_settings(settings, message):
    with pytest.raises(ArgumentError, match=f"^{message}"):
        ParamGroupConfig(**settings)
