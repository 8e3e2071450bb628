"""Maps that mix distant parts of the image are found by values, whatever operation mixes them."""

import pytest
import torch
from torch import nn

from hypercolumns.models.backbones import Backbone, networks
from hypercolumns.models.taps import RegularGrid


class Centred(nn.Module):
    """Subtracts the mean of each row, or of each column, of a map."""

    def __init__(self, dim):
        super().__init__()
        self.dim = dim

    def forward(self, x):
        return x - x.mean(self.dim, keepdim=True)


class Scaled(nn.Module):
    """Adds a GroupNorm whose share is 0 at first, as layer scales do in new networks."""

    def __init__(self):
        super().__init__()
        self.norm, self.scale = nn.GroupNorm(2, 8), nn.Parameter(torch.zeros(8))

    def forward(self, x):
        return x + self.norm(x) * self.scale[:, None, None]


def extents(monkeypatch, *layers):
    """Return `rf_extent` along y and along x after a convolution with kernel 3 and stride 2, and after the layers."""

    def network():
        return nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), *layers, nn.Conv2d(8, 8, 3, padding=1))

    monkeypatch.setitem(networks.OWN, "mixed", network)
    taps = Backbone("mixed", ["0", str(len(layers) + 1)]).taps
    assert [tap.axes[0].offset for tap in taps] == [tap.axes[1].offset for tap in taps] == [0, 0]
    first, last = ([axis.rf_extent for axis in tap.axes] for tap in taps)
    assert first == [(1, 1)] * 2
    return last


@pytest.mark.parametrize(
    "layer",
    [nn.GroupNorm(2, 8), nn.GroupNorm(1, 8), nn.InstanceNorm2d(8), Scaled(), nn.Sequential(nn.ReLU(), Scaled())],
)
def test_statistics_of_image_have_no_extent(monkeypatch, layer):
    assert extents(monkeypatch, layer) == [None, None]


def test_axes_are_tested_one_by_one(monkeypatch):
    assert extents(monkeypatch, Centred(2)) == [None, (3, 3)]
    assert extents(monkeypatch, Centred(3)) == [(3, 3), None]


@pytest.mark.parametrize(
    "layers",
    [
        [nn.BatchNorm2d(8), nn.ReLU()],
        [nn.LocalResponseNorm(3)],
        [layer for _ in range(30) for layer in (nn.Conv2d(8, 8, 1), nn.ReLU())],
        [layer for _ in range(30) for layer in (nn.Conv2d(8, 8, 1), nn.BatchNorm2d(8), nn.Sigmoid())],
    ],
)
def test_local_layers_keep_their_extent(monkeypatch, layers):
    assert extents(monkeypatch, *layers) == [(3, 3)] * 2


def test_layers_of_one_shape_do_not_cancel(monkeypatch):
    class Difference(nn.Module):
        """Adds two group norms, one of them with the other sign."""

        def __init__(self):
            super().__init__()
            self.plus, self.minus = nn.GroupNorm(2, 8), nn.GroupNorm(2, 8)

        def forward(self, x):
            return x + self.plus(x) - self.minus(x)

    assert extents(monkeypatch, Difference()) == [None] * 2


def test_random_numbers_stay_as_they_were(monkeypatch):
    state = torch.get_rng_state()
    assert extents(monkeypatch, nn.Dropout(0.5)) == [(3, 3)] * 2
    assert torch.equal(torch.get_rng_state(), state)


def test_network_without_test_has_no_extent(monkeypatch):
    class Factorised(nn.Module):
        """Needs a buffer that it computes itself; with other values, it can't run."""

        def __init__(self):
            super().__init__()
            self.register_buffer("whole", torch.eye(8, dtype=torch.float64))

        def forward(self, x):
            return x + torch.linalg.cholesky(self.whole * x.shape[1])[0, 0]

    monkeypatch.setitem(networks.OWN, "own", lambda: nn.Sequential(nn.Conv2d(3, 8, 3), Factorised()))
    (tap,) = Backbone("own", ["1"]).taps
    assert tap.axes == (RegularGrid(1, 1, None),) * 2
