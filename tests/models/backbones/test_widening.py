"""Backbones for images with another number of channels than three."""

import pytest
import timm
import torch
import torchvision
from helpers.networks import FIRES

from hypercolumns import Backbone, HypercolumnsError
from hypercolumns.models.backbones import networks
from hypercolumns.models.backbones.widening import widen_filters

RESNET = {"network": "resnet18", "taps": ["bn1", "layer1.1.add"]}
# The first convolution in the graph is a layer (sqn), a layer before BatchNorm (resnet18), or part of a block.
NETWORKS = [
    {"network": "squeezenet1_0", "taps": ["features.0", FIRES[0]]},
    RESNET,
    {"network": "mobilenet_v3_large", "taps": ["features.1"]},
]


def test_filters_equal_a_hand_computation():
    weight = torch.tensor([[1.0, 2.0, 6.0], [0.0, -3.0, 3.0]])[:, :, None, None]
    wide = [[0.6, 1.2, 3.6, 1.8, 1.8], [0.0, -1.8, 1.8, 0.0, 0.0]]  # the mean is 3 and 0, the factor is 3 / 5
    torch.testing.assert_close(widen_filters(weight, 5)[..., 0, 0], torch.tensor(wide))
    torch.testing.assert_close(widen_filters(weight, 2)[..., 0, 0], torch.tensor([[1.5, 3.0], [0.0, -4.5]]))
    assert widen_filters(weight, 3) is weight
    assert widen_filters(weight.half(), 4).dtype == torch.float16


@pytest.mark.parametrize("settings", NETWORKS, ids=lambda settings: settings["network"])
def test_first_layer_equals_a_slow_convolution(settings, tmp_path):
    narrow = Backbone(**settings)
    first = next(name for name, value in narrow.body.state_dict().items() if value.ndim == 4)
    mean, std = [0.1, 0.2, 0.3, 0.4, 0.5], [1.0, 2.0, 0.5, 0.25, 4.0]
    torch.save(narrow.body.state_dict(), tmp_path / "rgb.pth")
    wide = Backbone(**settings, weights=str(tmp_path / "rgb.pth"), mean=mean, std=std, input_channels=5)
    red, green, blue = narrow.body.state_dict()[first].unbind(1)
    third = (red + green + blue) / 3
    expected = torch.stack([red, green, blue, third, third], dim=1) * 0.6
    torch.testing.assert_close(wide.body.state_dict()[first], expected)

    images = torch.rand(2, 5, 37, 44)
    maps = {}
    layer = wide.body.get_submodule(first.removesuffix(".weight"))
    with layer.register_forward_hook(lambda _, inputs, output: maps.update(seen=output)) and torch.no_grad():
        wide(images)
        scaled = (images - torch.tensor(mean)[:, None, None]) / torch.tensor(std)[:, None, None]
        slow = sum(
            torch.nn.functional.conv2d(scaled[:, [band]], expected[:, [band]], None, layer.stride, layer.padding)
            for band in range(5)
        )
    slow = slow if layer.bias is None else slow + layer.bias[:, None, None]
    torch.testing.assert_close(maps["seen"], slow, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("settings", NETWORKS, ids=lambda settings: settings["network"])
def test_grey_image_keeps_its_response(settings):
    equal = {"mean": [0.4] * 3, "std": [0.2] * 3}
    narrow = Backbone(**settings, **equal)
    wide = Backbone(**settings, **equal, weights=narrow.body.state_dict(), input_channels=13)
    grey = torch.rand(1, 1, 64, 70)
    with torch.no_grad():
        for few, many in zip(narrow(grey.expand(-1, 3, -1, -1)), wide(grey.expand(-1, 13, -1, -1)), strict=True):
            torch.testing.assert_close(few, many, atol=1e-4, rtol=1e-3)


def test_weights_for_three_channels_are_kept():
    state = torchvision.models.resnet18().state_dict()
    kept = Backbone(**RESNET, weights=state, input_channels=3).body.state_dict()
    assert all(torch.equal(value, state[name]) for name, value in kept.items())


def test_random_filters_depend_on_the_seed_only():
    first, same, other = (Backbone(**RESNET, seed=seed, input_channels=6) for seed in (0, 0, 1))
    weights = [backbone.body.get_submodule("conv1").weight for backbone in (first, same, other)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])
    assert not torch.equal(weights[0][:, 4], weights[0][:, 5])
    narrow = Backbone(**RESNET, seed=0).body.get_submodule("conv1").weight
    assert float(weights[0].std() / narrow.std()) == pytest.approx(0.5**0.5, rel=0.02)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ([0.1, 0.2, 0.6], [0.1, 0.2, 0.6, 0.3]),
        ([0.1, 0.2, 0.6, 0.9], [0.1, 0.2, 0.6, 0.9]),
    ],
)
def test_normalisation_of_four_channels(given, expected):
    backbone = Backbone("rgb", ["image"], mean=given, std=given, input_channels=4)
    assert backbone.fingerprint()["mean"] == backbone.fingerprint()["std"] == pytest.approx(expected)
    images = torch.rand(1, 4, 3, 3)
    scale = torch.tensor(expected)[:, None, None]
    torch.testing.assert_close(backbone(images)[0], (images - scale) / scale)


def test_named_weights_take_other_values(monkeypatch):
    own = [0.1, 0.2, 0.6], [0.5, 0.5, 0.2]
    state = torchvision.models.resnet18().state_dict()
    monkeypatch.setattr("hypercolumns.models.backbones.weights.load_weights", lambda *_: (state, own))
    default = Backbone(**RESNET, weights="named", input_channels=4).fingerprint()
    assert default["mean"] == pytest.approx([0.1, 0.2, 0.6, 0.3])
    assert default["std"] == pytest.approx([0.5, 0.5, 0.2, 0.4])
    mine = Backbone(**RESNET, weights="named", mean=[1, 2, 3, 4], input_channels=4).fingerprint()
    assert (mine["mean"], mine["std"]) == ([1, 2, 3, 4], default["std"])
    assert Backbone(**RESNET, weights="named", mean=[1, 2, 3]).fingerprint()["mean"] == pytest.approx(own[0])


@pytest.mark.parametrize("channels", [1, 2, 6])
def test_rgb_returns_every_channel(channels):
    backbone = Backbone("rgb", ["image"], mean=[0, 0, 0], std=[1, 1, 1], input_channels=channels)
    images = torch.rand(2, channels, 4, 5)
    assert backbone.channels == channels
    assert torch.equal(backbone(images)[0], images)


def test_timm_adapts_its_own_weights(monkeypatch):
    create, asked = timm.create_model, []

    def spy(*args, **more):
        asked.append(more)
        return create(*args, **{**more, "pretrained": False})  # the weights would be downloaded

    monkeypatch.setattr(timm, "create_model", spy)
    backbone = Backbone("timm/test_resnet", None, weights="pretrained", mean=None, std=None, input_channels=5)
    assert {"pretrained": True, "in_chans": 5} in asked
    assert backbone.body.get_submodule("conv1.0").weight.shape[1] == 5
    assert len(backbone.fingerprint()["mean"]) == 5
    backbone(torch.rand(1, 5, 40, 40))


def test_file_of_rgb_fits_a_wide_network_of_timm():
    narrow = timm.create_model("test_resnet").state_dict()
    backbone = Backbone("timm/test_resnet", None, weights=narrow, mean=None, std=None, input_channels=4)
    expected = widen_filters(narrow["conv1.0.weight"], 4)
    assert torch.equal(backbone.body.state_dict()["conv1.0.weight"], expected)


def test_weights_of_other_channels_are_refused():
    state = Backbone(**RESNET, input_channels=5).body.state_dict()
    with pytest.raises(HypercolumnsError, match=r"conv1\.weight is \(64, 5, 7, 7\), expected \(64, 4, 7, 7\)"):
        Backbone(**RESNET, weights=state, input_channels=4)


@pytest.mark.parametrize("given", [1, 3, 5])
def test_images_of_other_channels_are_refused(given):
    backbone = Backbone(**RESNET, input_channels=4)
    with pytest.raises(HypercolumnsError, match=f"images have {given} channels, but this model takes images with 4"):
        backbone(torch.rand(1, given, 40, 40))


@pytest.mark.parametrize("values", [[1, 2], [1, 2, 3, 4], [1, 2, 3, 4, 0], "12345", 7])
def test_values_of_other_channels_are_refused(values):
    with pytest.raises(HypercolumnsError, match=r"std=.* must be three finite numbers, .* or 5, one for each channel"):
        Backbone("rgb", ["image"], std=values, input_channels=5)


@pytest.mark.parametrize("channels", [0, 2.0, True])
def test_number_of_channels_is_checked(channels):
    with pytest.raises(HypercolumnsError, match=r"input_channels=.* must be a whole number of at least 1"):
        Backbone("rgb", ["image"], input_channels=channels)


def test_network_that_splits_colours_is_refused(monkeypatch):
    class Split(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.first = torch.nn.Conv2d(3, 6, 3, groups=3)

        def forward(self, images):
            return self.first(images)

    monkeypatch.setitem(networks.OWN, "split", Split)
    with pytest.raises(HypercolumnsError, match="network=split can't be a backbone: first treats red, green and blue"):
        Backbone("split", ["first"], input_channels=4)
