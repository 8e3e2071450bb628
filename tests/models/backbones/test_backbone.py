import copy
import math

import pytest
import safetensors.torch
import torch
import torch.nn.functional as F
import torchvision
from conftest import FIRES, SQN, vgg_weights
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
def test_taps_are_those_of_the_original(name, channels, centres, min_side, request):
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


def test_taps_come_before_the_relu_which_does_not_overwrite_them(sqn):
    """Each tap of SqueezeNet against torchvision's own layers, called one by one."""
    network = torchvision.models.squeezenet1_0().eval()
    network.load_state_dict(sqn.body.state_dict(), strict=False)
    images = torch.rand(1, 3, 64, 80)
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
            assert torch.allclose(ours, theirs, atol=1e-5)


@pytest.mark.parametrize(
    ("network", "taps"),
    [
        ("resnet18", ["bn1", "relu", "maxpool", "layer1.0.bn1", "layer1.0.add", "layer1.1.add"]),
        ("squeezenet1_0", ["features.0", "features.1", "features.3.squeeze", "features.3.expand1x1", "features.4.cat"]),
        ("vgg11", ["features.0", "features.2", "features.3", "features.4", "features.7", "features.8"]),
    ],
)
def test_taps_are_what_the_plain_network_gives_there(network, taps):
    """Around every ReLU and pooling, and where one ReLU is called twice: nothing is overwritten or out of order."""
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


def test_a_function_after_a_tap_does_not_overwrite_it(monkeypatch):
    class Network(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second = nn.Conv2d(3, 4, 1), nn.Conv2d(4, 4, 1)

        def forward(self, x):
            return self.second(F.relu(self.first(x), inplace=True))

    monkeypatch.setitem(networks.OWN, "network", Network)
    backbone = Backbone("network", ["first", "second"], trainable="all")
    assert all((cells < 0).any() for mode in (True, False) for cells in backbone.train(mode)(torch.rand(1, 3, 40, 40)))


def test_small_images_are_continued_by_their_last_pixels(sqn):
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

    def test_frozen_by_default(self):
        assert self.trained(0) == set()

    def test_the_layers_of_the_last_tap(self):
        modules = {f"features.{i}.{part}" for i in (10, 12) for part in ("squeeze", "expand1x1", "expand3x3")}
        assert self.trained(1) == modules

    @pytest.mark.parametrize("taps", [["features.1.0.block.0", "features.1.0"], ["features.1.0", "features.1.1.add"]])
    def test_what_makes_the_tap_before_is_frozen_parameters_outside_layers_too(self, taps):
        """ConvNeXt scales the output of each block by a parameter of its own, and ends it by a sum."""
        backbone = Backbone("convnext_tiny", taps, trainable=1)
        scale = "features.1.0.layer_scale"
        trained = {name for name, parameter in backbone.body.named_parameters() if parameter.requires_grad}
        assert (scale in trained) == (taps[0] == "features.1.0.block.0")
        assert not any(name.startswith(("features.0", f"{taps[0]}.")) for name in trained)

    def test_all(self):
        assert self.trained("all") == self.trained(6)
        assert "features.0" in self.trained("all")

    @pytest.mark.parametrize("trainable", [-1, 7])
    def test_other_numbers_are_refused(self, trainable):
        with pytest.raises(HypercolumnsError, match=f"^trainable={trainable} must be a number of taps, from 0 to 6"):
            Backbone(**SQN, trainable=trainable)

    def test_only_trained_batchnorm_is_synchronised(self, monkeypatch):
        """There is no GPU here: the layers are told that they are on one."""
        backbone = Backbone("resnet18", ["layer1", "layer4"], trainable=1)
        with pytest.raises(HypercolumnsError, match=r"^trainable=1: resnet18 .* BatchNorm \(layer2.*; train none, or"):
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

    def test_statistics_of_batchnorm_stay_with_what_is_frozen(self):
        backbone = Backbone("resnet18", ["layer1.0.bn2", "layer1.1.bn2"], trainable=1).train()
        frozen, trained = backbone.body.get_submodule("layer1.0.bn2"), backbone.body.get_submodule("layer1.1.bn2")
        before = [bn.running_mean.clone() for bn in (frozen, trained)]
        backbone(torch.rand(2, 3, 32, 32))
        assert torch.equal(before[0], frozen.running_mean)
        assert not torch.equal(before[1], trained.running_mean)


class TestWeights:
    def test_random_ones_are_decided_by_the_seed(self):
        one, same, other = (Backbone(**SQN, seed=seed).fingerprint()["weights"] for seed in (1, 1, 2))
        assert one == same != other

    @pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
    @pytest.mark.parametrize("form", ["full", "features"])
    def test_a_file_of_the_full_network_or_its_features(self, tmp_path, suffix, form):
        network = torchvision.models.squeezenet1_0()
        state = network.state_dict() if form == "full" else network.features.state_dict()
        path = tmp_path / f"weights{suffix}"
        torch.save(state, path) if suffix == ".pth" else safetensors.torch.save_file(state, path)
        backbone = Backbone(**SQN, weights=str(path))
        assert torch.equal(backbone.body.get_parameter("features.0.weight"), network.features[0].weight)
        assert torch.equal(
            backbone.body.get_parameter("features.12.expand3x3.bias"), network.features[12].expand3x3.bias
        )
        images = torch.rand(1, 3, 40, 40)
        assert all(cells.isfinite().all() for cells in backbone(images))

    def test_of_another_network(self, tmp_path):
        path = tmp_path / "weights.pth"
        torch.save(torchvision.models.squeezenet1_1().state_dict(), path)
        message = (
            r"12 of 50 tensors are missing, such as features\.5\.squeeze.* and others; .*features\.0\.weight is \(64, 3"
        )
        with pytest.raises(HypercolumnsError, match=message):
            Backbone(**SQN, weights=str(path))
        torch.save({**torchvision.models.squeezenet1_0().state_dict(), "features.0.weight": torch.zeros(64, 3)}, path)
        with pytest.raises(HypercolumnsError, match=r"features\.0\.weight is \(64, 3\), expected \(96, 3, 7, 7\)"):
            Backbone(**SQN, weights=str(path))
        torch.save({"conv1.weight": torch.zeros(1)}, path)
        message = r"50 of 50 tensors are missing, such as features\.0\.weight.* it has conv1\.weight instead"
        with pytest.raises(HypercolumnsError, match=message):
            Backbone(**SQN, weights=str(path))

    def test_of_no_network(self, tmp_path):
        path = tmp_path / "weights.pth"
        path.write_text("<html>not found</html>")
        with pytest.raises(HypercolumnsError, match=r"can't be read .* expected a state dict"):
            Backbone(**SQN, weights=str(path))
        torch.save([1, 2], path)
        with pytest.raises(HypercolumnsError, match="holds a list; expected a state dict"):
            Backbone(**SQN, weights=str(path))
        torch.save({"epoch": 3, "model": {}}, path)
        with pytest.raises(
            HypercolumnsError, match="holds things that are no plain tensors with names, such as epoch, model; expected"
        ):
            Backbone(**SQN, weights=str(path))

    def test_damaged(self, tmp_path):
        """A flipped bit, which torch does not see; numbers that no training gives."""
        path, state = tmp_path / "weights.pth", torchvision.models.squeezenet1_0().features.state_dict()
        torch.save(state, path)
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
        with pytest.raises(HypercolumnsError, match=r"can't be read \(the checksum of weights/data/\d+ differs\)"):
            Backbone(**SQN, weights=str(path))
        state["0.bias"][3] = math.nan
        torch.save(state, path)
        with pytest.raises(HypercolumnsError, match=r"numbers that are not finite, in features\.0\.bias; pass another"):
            Backbone(**SQN, weights=str(path))

    @pytest.mark.parametrize(
        "state",
        [
            {3: torch.ones(2)},
            {"a": torch.ones(2).to_sparse()},
            {"a": torch.ones(2, device="meta")},
            {"a": torch.ones(2) * 1j},
        ],
        ids=["numbered", "sparse", "meta", "complex"],
    )
    def test_of_tensors_that_hold_no_plain_numbers(self, tmp_path, state):
        torch.save(state, tmp_path / "odd.pth")
        with pytest.raises(HypercolumnsError, match=r"odd\.pth holds things that are no plain tensors with names"):
            Backbone("squeezenet1_0", taps=["features.0"], weights=str(tmp_path / "odd.pth"))

    def test_a_pickle_that_would_run_code_is_refused(self, tmp_path):
        class Hostile:
            def __reduce__(self):
                return (tmp_path.joinpath("touched").touch, ())

        path = tmp_path / "weights.pth"
        torch.save({"a": Hostile()}, path)
        with pytest.raises(HypercolumnsError, match=r"can't be read .*or holds objects, which are not read, for they"):
            Backbone(**SQN, weights=str(path))
        assert not (tmp_path / "touched").exists()

    def test_neither_file_nor_name(self):
        with pytest.raises(
            HypercolumnsError,
            match=r"IMAGENET is neither a file nor one .* for squeezenet1_0 \(IMAGENET1K_V1, DEFAULT\)",
        ):
            Backbone(**SQN, weights="IMAGENET")

    def test_a_failed_download_never_falls_back(self, monkeypatch):
        def fail(*args, **kwargs):
            raise OSError("no route to host")

        monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", fail)
        with pytest.raises(
            HypercolumnsError, match=r"could not be downloaded \(no route to host\); pass the path of a file"
        ):
            Backbone(**SQN, weights="IMAGENET1K_V1")

    def test_by_name_bring_their_normalisation(self, monkeypatch):
        state = torchvision.models.squeezenet1_0().state_dict()
        monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", lambda *args, **kwargs: state)
        backbone = Backbone(**SQN, weights="IMAGENET1K_V1", mean=(0, 0, 0), std=(1, 1, 1))
        assert backbone.mean.flatten().tolist() == pytest.approx(IMAGENET_MEAN)


def test_fingerprint_sees_one_changed_weight():
    backbone = Backbone(**SQN)
    before = backbone.fingerprint()
    with torch.no_grad():
        value = backbone.body.get_parameter("features.12.squeeze.bias")[0]
        value.copy_(torch.nextafter(value, torch.tensor(math.inf)))
    assert backbone.fingerprint() != before
    assert {**backbone.fingerprint(), "weights": ""} == {**before, "weights": ""}


def test_a_network_whose_code_computes_its_sizes_by_tensors():
    """RegNet's does: it can't be made without values, into which others would be loaded."""
    backbone = Backbone("regnet_x_400mf", ["stem"])
    twin = Backbone("regnet_x_400mf", ["stem"], weights=backbone.body.state_dict())
    assert twin.fingerprint() == backbone.fingerprint()


def test_unknown_network_and_tap():
    with pytest.raises(
        HypercolumnsError,
        match=r"^network=squeezenet is not known; did you mean .*squeezenet1_1",
    ):
        Backbone("squeezenet", ["features.0"])
    with pytest.raises(HypercolumnsError, match=r"^taps names features\.99, which this network does not have"):
        Backbone("squeezenet1_0", ["features.0", "features.99"])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"network": "rgb", "taps": []}, r"^network=rgb and taps=\[\] must name a network and modules of it"),
        ({"network": None, "taps": ["image"]}, r"^network=None and taps=\['image'\] must name a network"),
        (
            {"network": "rgb", "taps": None},
            r"^taps=None can't be: only timm lists maps of its networks; name modules of rgb",
        ),
        ({"network": "rgb", "taps": ["image"], "std": None}, r"^mean and std of rgb can't be null: give one"),
    ],
)
def test_settings_that_are_missing(settings, message):
    with pytest.raises(HypercolumnsError, match=message):
        Backbone(**settings)


def test_a_network_that_can_not_be_traced(monkeypatch):
    class Undecided(nn.Module):
        def forward(self, x):
            return x if x.sum() > 0 else -x

    monkeypatch.setitem(networks.OWN, "rgb", Undecided)
    with pytest.raises(HypercolumnsError, match=r"^network=rgb can't be a backbone: torch\.fx can't trace it \(.*flow"):
        Backbone("rgb", ["image"])


@pytest.mark.parametrize("mean", ["x", [1, 2], [1, 2, "x"], [1, 2, math.nan], 5])
def test_a_mean_that_is_none(mean):
    with pytest.raises(HypercolumnsError, match=r"^mean=.* must be \[red,green,blue\], numbers"):
        Backbone("rgb", ["image"], mean=mean)


def test_a_std_of_0():
    with pytest.raises(HypercolumnsError, match=r"^std=.* must be \[red,green,blue\], numbers, none of them 0"):
        Backbone("rgb", ["image"], std=[1, 0, 1])


def test_rgb_is_the_image():
    backbone = Backbone("rgb", ["image"], mean=(0, 0, 0), std=(1, 1, 1))
    images = torch.rand(1, 3, 5, 7)
    assert torch.equal(backbone(images)[0], images)
    assert backbone.taps[0].axes == (RegularGrid(1, 0, (0, 0)),) * 2
    assert backbone.min_side == 1


def test_a_deep_copy_is_in_the_same_mode():
    backbone = Backbone("resnet18", ["layer1.0.bn2"]).train()
    twin = copy.deepcopy(backbone)
    assert [module.training for module in twin.modules()] == [module.training for module in backbone.modules()]
    images = torch.rand(2, 3, 40, 40)
    assert torch.equal(twin(images)[0], backbone(images)[0])
    assert twin.map_sizes(1, 1) == backbone.map_sizes(1, 1)  # of which no statistics can be made


def test_a_deep_copy_is_independent():
    backbone = Backbone("squeezenet1_0", ["features.0", FIRES[0]])
    twin = copy.deepcopy(backbone)
    twin.train()
    assert not any(module.training for module in twin._frozen)
    assert twin._frozen == [twin.body]
