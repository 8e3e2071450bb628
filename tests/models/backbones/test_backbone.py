"""The backbone on networks of torchvision: taps, freezing, copies, and refused settings."""

import copy
import math

import pytest
import torch
import torch.nn.functional as F
import torchvision
from helpers.networks import FIRES, SQN, vgg_weights
from torch import nn
from torchvision.models.feature_extraction import create_feature_extractor

from hypercolumns.errors import HypercolumnsError
from hypercolumns.models.backbones import IMAGENET_MEAN, IMAGENET_STD, Backbone, networks
from hypercolumns.models.taps import RegularGrid


@pytest.mark.parametrize(
    ("name", "channels", "centres", "min_side"),
    [
        ("sqn", [96, 128, 128, 256, 384, 512], [(3, 2), (5, 4), (5, 4), (9, 8), (9, 8), (17, 16)], 21),
        ("vgg", [64, 128, 256, 512, 512], [(0, 1), (0.5, 2), (1.5, 4), (3.5, 8), (7.5, 16)], 16),
    ],
)
def test_channels_and_centres_of_sqn_and_vgg(name, channels, centres, min_side, request):
    """The taps of the original implementation: centres are (offset, stride), the same along both axes."""
    backbone = request.getfixturevalue(name)
    assert [tap.channels for tap in backbone.taps] == channels
    assert sum(channels) == {"sqn": 1504, "vgg": 1472}[name]
    for tap, (offset, stride) in zip(backbone.taps, centres, strict=True):
        assert [(axis.offset, axis.stride) for axis in tap.axes] == [(offset, stride)] * 2
    assert backbone.channels == sum(channels)
    assert backbone.shift_period == (16, 16)
    assert backbone.min_side == min_side
    maps = backbone(torch.rand(2, 3, 50, 70))
    assert [cells.shape[1] for cells in maps] == channels
    assert [cells.shape[2:] for cells in maps] == backbone.map_sizes(50, 70)


def test_taps_hold_values_before_the_relu(sqn):
    """Each tap of SqueezeNet equals the output of torchvision's own layers, called one by one."""
    network = torchvision.models.squeezenet1_0().eval()
    network.load_state_dict(sqn.body.state_dict(), strict=False)
    images = torch.rand(1, 3, 64, 80, generator=torch.Generator().manual_seed(0))
    x = (images - torch.tensor(IMAGENET_MEAN)[:, None, None]) / torch.tensor(IMAGENET_STD)[:, None, None]
    expected = []
    with torch.no_grad():
        for index, layer in enumerate(network.features):
            if index in (3, 4, 7, 9, 12):
                squeezed = layer.squeeze(x).relu()
                expected.append(torch.cat([layer.expand1x1(squeezed), layer.expand3x3(squeezed)], dim=1))
            x = layer(x.clone())
            if index == 0:
                expected.append(x.clone())
        for ours, theirs in zip(sqn(images), expected, strict=True):
            assert (theirs < 0).any()
            torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5 * theirs.abs().max().item())


@pytest.mark.parametrize(
    ("network", "taps"),
    [
        ("resnet18", ["bn1", "relu", "maxpool", "layer1.0.bn1", "layer1.0.add", "layer1.1.add"]),
        ("squeezenet1_0", ["features.0", "features.1", "features.3.squeeze", "features.3.expand1x1", "features.4.cat"]),
        ("vgg11", ["features.0", "features.2", "features.3", "features.4", "features.7", "features.8"]),
    ],
)
def test_taps_equal_torchvision_extractor(network, taps):
    """Compare taps before and after each ReLU and pooling with those of the network without in-place layers.

    In ResNet, one ReLU module is called twice.
    """
    backbone = Backbone(network, taps, vgg_weights() if network == "vgg11" else None).eval()
    images = torch.rand(1, 3, 64, 80)
    plain = networks.build_blank(network).eval()
    plain.load_state_dict(backbone.body.state_dict(), strict=False, assign=True)
    for layer in plain.modules():
        if isinstance(layer, nn.ReLU):
            layer.inplace = False
    reference = create_feature_extractor(plain, {name: name for name in taps})
    with torch.no_grad():
        expected = reference((images - backbone.mean) / backbone.std)
        for name, ours in zip(taps, backbone(images), strict=True):
            assert torch.allclose(ours, expected[name], atol=1e-4), name


def test_inplace_function_does_not_overwrite_tap(monkeypatch):
    class Network(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second = nn.Conv2d(3, 4, 1), nn.Conv2d(4, 4, 1)

        def forward(self, x):
            return self.second(F.relu(self.first(x), inplace=True))

    monkeypatch.setitem(networks.OWN, "network", Network)
    backbone = Backbone("network", ["first", "second"], trainable="all")
    assert all((cells < 0).any() for mode in (True, False) for cells in backbone.train(mode)(torch.rand(1, 3, 40, 40)))


def test_pad_repeats_last_row_and_column(sqn):
    image = torch.rand(1, 3, 2, 30)
    padded = sqn.pad(image)
    assert padded.shape == (1, 3, 21, 30)
    assert (padded[:, :, 2:] == image[:, :, 1:]).all()
    assert all(cells.numel() for cells in sqn(padded))
    assert sqn.pad(torch.rand(1, 3, 21, 21)).shape == (1, 3, 21, 21)


class TestTrainable:
    def trained(self, trainable):
        backbone = Backbone(**SQN, trainable=trainable)
        return {name.rpartition(".")[0] for name, p in backbone.body.named_parameters() if p.requires_grad}

    def test_default_freezes_all(self):
        assert self.trained(0) == set()

    def test_one_trains_layers_of_the_last_tap(self):
        modules = {f"features.{i}.{part}" for i in (10, 12) for part in ("squeeze", "expand1x1", "expand3x3")}
        assert self.trained(1) == modules

    @pytest.mark.parametrize("taps", [["features.1.0.block.0", "features.1.0"], ["features.1.0", "features.1.1.add"]])
    def test_layers_of_earlier_taps_stay_frozen(self, taps):
        """A block of ConvNeXt has a parameter outside of layers, which scales its output, and ends with a sum."""
        backbone = Backbone("convnext_tiny", taps, trainable=1)
        scale = "features.1.0.layer_scale"
        trained = {name for name, parameter in backbone.body.named_parameters() if parameter.requires_grad}
        assert (scale in trained) == (taps[0] == "features.1.0.block.0")
        assert not any(name.startswith(("features.0", f"{taps[0]}.")) for name in trained)

    def test_all_trains_every_layer(self):
        assert self.trained("all") == self.trained(6)
        assert "features.0" in self.trained("all")

    @pytest.mark.parametrize("trainable", [-1, 7])
    def test_invalid_number_raises(self, trainable):
        with pytest.raises(HypercolumnsError, match=f"^trainable={trainable} must be a number of taps, from 0 to 6"):
            Backbone(**SQN, trainable=trainable)

    def test_only_trained_batch_norm_is_synchronised(self, monkeypatch):
        """SyncBatchNorm needs a GPU; a patched `Tensor.device` stands in for one."""
        backbone = Backbone("resnet18", ["layer1", "layer4"], trainable=1)
        with pytest.raises(
            HypercolumnsError,
            match=r"^trainable=1 trains BatchNorm layers of resnet18 \(layer2.*; choose a value of trainable",
        ):
            backbone.synchronize_batch_norm()
        Backbone("resnet18", ["layer1", "layer4"]).synchronize_batch_norm()
        Backbone(**SQN, trainable="all").synchronize_batch_norm()
        monkeypatch.setattr(torch.Tensor, "device", torch.device("cuda"))
        names = list(backbone.state_dict())
        backbone.synchronize_batch_norm()
        monkeypatch.undo()
        kinds = {name: type(layer).__name__ for name, layer in backbone.body.named_modules() if "bn" in name}
        assert kinds["bn1"] == kinds["layer1.0.bn1"] == "BatchNorm2d"
        assert kinds["layer2.0.bn1"] == kinds["layer4.1.bn2"] == "SyncBatchNorm"
        assert list(backbone.state_dict()) == names
        backbone.train()
        assert not backbone.body.get_submodule("layer1.0.bn1").training
        assert backbone.body.get_submodule("layer2.0.bn1").training

    def test_frozen_batch_norm_keeps_its_statistics(self):
        backbone = Backbone("resnet18", ["layer1.0.bn2", "layer1.1.bn2"], trainable=1).train()
        frozen, trained = backbone.body.get_submodule("layer1.0.bn2"), backbone.body.get_submodule("layer1.1.bn2")
        before = [bn.running_mean.clone() for bn in (frozen, trained)]
        backbone(torch.rand(2, 3, 32, 32))
        assert torch.equal(before[0], frozen.running_mean)
        assert not torch.equal(before[1], trained.running_mean)


def test_fingerprint_changes_with_one_weight():
    backbone = Backbone(**SQN)
    before = backbone.fingerprint()
    with torch.no_grad():
        value = backbone.body.get_parameter("features.12.squeeze.bias")[0]
        value.copy_(torch.nextafter(value, torch.tensor(math.inf)))
    assert backbone.fingerprint() != before
    assert {**backbone.fingerprint(), "weights": ""} == {**before, "weights": ""}


def test_loads_network_that_fails_on_meta_device():
    """The code of RegNet computes sizes with tensors, so it cannot be built without values."""
    backbone = Backbone("regnet_x_400mf", ["stem"])
    twin = Backbone("regnet_x_400mf", ["stem"], weights=backbone.body.state_dict())
    assert twin.fingerprint() == backbone.fingerprint()


def test_unknown_network_or_tap_raises():
    with pytest.raises(
        HypercolumnsError,
        match=r"^network=squeezenet is not known; did you mean .*squeezenet1_1",
    ):
        Backbone("squeezenet", ["features.0"])
    with pytest.raises(HypercolumnsError, match=r"^taps names features\.99, which is not a module of squeezenet1_0"):
        Backbone("squeezenet1_0", ["features.0", "features.99"])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"network": "rgb", "taps": []}, r"^network=rgb must be the name of a network, and taps=\[\] a list of one"),
        (
            {"network": None, "taps": ["image"]},
            r"^network=None must be the name of a network, and taps=\['image'\] a list",
        ),
        (
            {"network": "rgb", "taps": None},
            r"^taps=None is allowed only for networks of timm, because timm lists their feature maps; "
            r"list modules of rgb in taps",
        ),
        (
            {"network": "rgb", "taps": ["image"], "std": None},
            r"^mean and std can be null only for networks of timm; give .* for rgb",
        ),
    ],
)
def test_missing_settings_raise(settings, message):
    with pytest.raises(HypercolumnsError, match=message):
        Backbone(**settings)


def test_untraceable_network_raises(monkeypatch):
    class Undecided(nn.Module):
        def forward(self, x):
            return x if x.sum() > 0 else -x

    monkeypatch.setitem(networks.OWN, "rgb", Undecided)
    with pytest.raises(HypercolumnsError, match=r"^network=rgb can't be a backbone: its code takes another way"):
        Backbone("rgb", ["image"])


@pytest.mark.parametrize("mean", ["x", [1, 2], [1, 2, "x"], [1, 2, math.nan], 5])
def test_invalid_mean_raises(mean):
    with pytest.raises(HypercolumnsError, match=r"^mean=.* must be three finite numbers, \[red,green,blue\]"):
        Backbone("rgb", ["image"], mean=mean)


def test_std_of_zero_raises():
    message = r"^std=.* must be three finite numbers, \[red,green,blue\], none of them 0"
    with pytest.raises(HypercolumnsError, match=message):
        Backbone("rgb", ["image"], std=[1, 0, 1])


def test_rgb_returns_the_image():
    backbone = Backbone("rgb", ["image"], mean=(0, 0, 0), std=(1, 1, 1))
    images = torch.rand(1, 3, 5, 7)
    assert torch.equal(backbone(images)[0], images)
    assert backbone.taps[0].axes == (RegularGrid(1, 0, (0, 0)),) * 2
    assert backbone.min_side == 1


def test_deepcopy_keeps_training_mode():
    backbone = Backbone("resnet18", ["layer1.0.bn2"]).train()
    twin = copy.deepcopy(backbone)
    assert [module.training for module in twin.modules()] == [module.training for module in backbone.modules()]
    images = torch.rand(2, 3, 40, 40)
    assert torch.equal(twin(images)[0], backbone(images)[0])
    # BatchNorm in training mode would refuse maps of one cell.
    assert twin.map_sizes(1, 1) == backbone.map_sizes(1, 1)


def test_deepcopy_freezes_its_own_layers():
    backbone = Backbone("squeezenet1_0", ["features.0", FIRES[0]])
    twin = copy.deepcopy(backbone)
    twin.train()
    assert not any(module.training for module in twin.body.modules())
    twin.body.train()
    backbone.train()
    assert twin.body.training
    twin.train()
    assert not twin.body.training
