"""The properties of a network's maps: the table of known networks, the formulas of sizes, and records in files."""

import copy
import json
import subprocess
import sys

import pytest
import torch
from helpers.networks import SQN
from helpers.paths import CONF, ROOT
from torch import nn
from torchvision.models.feature_extraction import DualGraphModule

from hypercolumns.errors import HypercolumnsError
from hypercolumns.models.backbones import Backbone, networks
from hypercolumns.settings.known_networks import record, selected

TABLE = ROOT / "src/hypercolumns/models/backbones/known_networks.json"
LARGE = (
    "convnext_tiny",
    "efficientnet_b0",
    "resnet50",
    "siglip",
    "sqn_many",
    "vgg16",
)  # their derivation takes seconds


@pytest.mark.parametrize(
    "path",
    [
        pytest.param(path, id=path.stem, marks=pytest.mark.slow if path.stem in LARGE else ())
        for path in sorted(CONF.glob("cnn/[!_]*.yaml"))
        if path.stem != "rgb"
    ],
)
def test_table_equals_derivation(path):
    """An installed version of torchvision or timm with other layers is found here."""
    network, taps, norm = selected(path)
    derived = record(network, taps, norm)
    assert derived is not None
    named = [[network, [list(modules) for modules in taps], norm]]
    entries = json.loads(TABLE.read_text())
    assert [each["info"] for each in entries if [each[key] for key in ("network", "taps", "norm")] in named] == [
        derived
    ]


def test_known_network_is_not_run(monkeypatch):
    """Neither the table nor a record needs a copy of the network on the meta device."""
    monkeypatch.setattr(DualGraphModule, "__deepcopy__", lambda self, memo: pytest.fail("the network was copied"))
    known = Backbone(**SQN, context=["pyramid:2", "local_mean:3", "coordinates"])
    again = Backbone(**SQN, context=["pyramid:2", "local_mean:3", "coordinates"], info=known.info)
    assert (again.taps[:7], again.min_side, again.shift_period) == (known.taps[:7], 21, (16, 16))
    for backbone in (known, again):
        for size in [(21, 21), (22, 37), (38, 64), (200, 131)]:
            maps = backbone(torch.rand(1, 3, *size))
            assert backbone.map_sizes(*size) == [tuple(cells.shape[2:]) for cells in maps]
            assert all(
                len(axis.centres(cells.shape[number], size[number - 2])) == cells.shape[number]
                for tap, cells in zip(backbone.taps, maps, strict=True)
                for number, axis in enumerate(tap.axes, 2)
            )


def test_record_survives_json():
    backbone = Backbone("resnet18", ["bn1", "layer2.0.add"])
    again = Backbone("resnet18", ["bn1", "layer2.0.add"], info=json.loads(json.dumps(backbone.info)))
    assert (again.taps, again.min_side, again.shift_period) == (backbone.taps, backbone.min_side, backbone.shift_period)
    assert again.info == backbone.info


class Network(nn.Module):
    def __init__(self, last):
        super().__init__()
        self.first, self.last = nn.Conv2d(3, 4, 3, stride=2), last

    def forward(self, x):
        return self.last(self.first(x))


def test_map_of_fixed_size_has_no_record(monkeypatch):
    monkeypatch.setitem(networks.OWN, "network", lambda: Network(nn.AdaptiveAvgPool2d(5)))
    backbone = Backbone("network", ["first", "last"])
    assert backbone.info is None
    assert backbone.map_sizes(40, 61) == [(19, 30), (5, 5)]


def test_own_network_is_never_looked_up(monkeypatch):
    """A program may define a network of its own under a name that the table has."""
    monkeypatch.setitem(networks.OWN, "squeezenet1_0", lambda: nn.Sequential(nn.Conv2d(3, 8, 2, stride=2)))
    (tap,) = Backbone("squeezenet1_0", ["0"]).taps
    assert (tap.channels, tap.axes[0].stride, tap.axes[0].offset) == (8, 2, 0.5)


@pytest.mark.parametrize(("key", "value"), [("channels", 64), ("size_offset", 3), ("stride", 4)])
def test_map_unlike_its_record_raises(key, value):
    info = copy.deepcopy(Backbone(**SQN).info)
    values = info["maps"][0]
    (values if key == "channels" else values["axes"][1])[key] = value
    backbone = Backbone(**SQN, info=info)
    message = r"tap features\.0 of squeezenet1_0 has a map of \(channels, height, width\) = \(96, 17, 22\), expected"
    with pytest.raises(HypercolumnsError, match=message):
        backbone(torch.rand(1, 3, 40, 50))


@pytest.mark.parametrize(
    "change",
    [
        lambda info: info.pop("maps"),
        lambda info: info["maps"].pop(),
        lambda info: info.update(maps=5),
        lambda info: info.update(min_side=0),
        lambda info: info.update(min_side=True),
        lambda info: info.update(min_side=1 << 40),
        lambda info: info.update(shift_period=[16]),
        lambda info: info.update(shift_period=[16, "16"]),
        lambda info: info["maps"][0].update(channels=1.5),
        lambda info: info["maps"][0]["axes"][0].update(stride=0),
        lambda info: info["maps"][0]["axes"][0].update(offset=float("nan")),
        lambda info: info["maps"][0]["axes"][0].update(offset=1e300),
        lambda info: info["maps"][0]["axes"][0].update(rf_extent=[1]),
        lambda info: info["maps"][0]["axes"][0].update(rf_extent=[-1, 0]),
        lambda info: info["maps"][0]["axes"][0].update(size_offset=None),
        lambda info: info["maps"][0].update(axes=[{}]),
    ],
)
def test_invalid_record_raises(change):
    info = copy.deepcopy(Backbone(**SQN).info)
    change(info)
    with pytest.raises(ValueError, match="the description of the network's maps is invalid"):
        Backbone(**SQN, info=info)


@pytest.mark.parametrize("name", ["convnext_tiny", "resnet18", "squeezenet1_0", "swin_t"])
def test_blank_network_has_shapes_of_network(name):
    blank, full = networks.build_blank(name), networks.build(name)
    assert {key: tensor.shape for key, tensor in blank.state_dict().items()} == {
        key: tensor.shape for key, tensor in full.state_dict().items()
    }
    assert any(tensor.is_meta for tensor in blank.parameters())


@pytest.mark.slow
def test_other_versions_do_not_use_the_table():
    """The table holds for the versions that it names; with others, a network is copied and examined."""
    code = f"""
from torchvision.models.feature_extraction import DualGraphModule
from hypercolumns.models.backbones import Backbone, _network_info, networks

copied, deepcopy = [], DualGraphModule.__deepcopy__
DualGraphModule.__deepcopy__ = lambda self, memo: copied.append(self) or deepcopy(self, memo)
Backbone(**{SQN!r})
assert not copied
networks.layer_versions = lambda name: dict(torchvision="0.1")
_network_info.CACHE.clear()
_network_info._known.cache_clear()
Backbone(**{SQN!r})
assert copied
"""
    subprocess.run([sys.executable, "-c", code], check=True)
