"""Centres and extents of receptive fields, for small networks that are worked out by hand."""

import pytest
import torch
from helpers.networks import vgg_weights
from torch import nn
from torch.fx import symbolic_trace

from hypercolumns.errors import HypercolumnsError
from hypercolumns.models.backbones import Backbone
from hypercolumns.models.backbones.receptive_field import MeasuredGrid, cell_grids, path_spreads
from hypercolumns.models.backbones.shift_period import shift_periods
from hypercolumns.models.taps import RegularGrid

MOBILENET = {"network": "mobilenet_v3_large", "taps": ["features.0", "features.3.block.0", "features.6.add"]}


def test_extent_is_unlimited_after_squeeze_excite():
    mobilenet = Backbone(**MOBILENET)
    assert [[axis.rf_extent is None for axis in tap.axes] for tap in mobilenet.taps] == [
        [False] * 2,
        [False] * 2,
        [True] * 2,
    ]
    assert [tap.axes[0].stride for tap in mobilenet.taps] == [2, 4, 8]


def test_gates_do_not_move_centres():
    class Gated(nn.Module):
        def __init__(self):
            super().__init__()
            self.squeeze, self.chosen = nn.Conv2d(3, 3, 1), nn.Conv1d(1, 1, 3, padding=1)

        def forward(self, x):
            means = x.mean((2, 3), keepdim=True)
            x = x * self.squeeze(means).sigmoid()
            return x * self.chosen(means.flatten(1)[:, None]).view(-1, 3, 1, 1).softmax(1).expand_as(x)

    along_y, along_x, _ = one_map(nn.Conv2d(3, 3, 4, stride=4), Gated())
    assert along_y == along_x == RegularGrid(4, 1.5, None)


@pytest.mark.parametrize(
    ("operation", "message"),
    [
        (torch.sin, "the mean of its inputs, and one operation does not allow this"),
        (lambda x: x + x.flip((2, 3)), "an operation of the network mixes distant parts of a map"),
        (torch.round, "an operation of the network, such as rounding, has no gradient"),
    ],
)
def test_unknown_operations_raise(operation, message):
    class Layer(nn.Module):
        def forward(self, x):
            return operation(x)

    with pytest.raises(ValueError, match=message):
        one_map(Layer())


def one_map(*layers):
    """Return the grids of the last layer's map along y and x, and the shift periods, for a sequence of layers."""
    network = symbolic_trace(nn.Sequential(*layers)).to("meta")
    ((along_y, along_x),) = cell_grids(lambda image: [network(image)], 8)
    return along_y, along_x, shift_periods(network)


def test_axes_and_padding_can_differ():
    """The network treats the axes differently, and pads on one side only."""
    along_y, along_x, period = one_map(
        nn.ZeroPad2d((0, 2, 0, 0)), nn.Conv2d(3, 4, (1, 3), stride=(1, 2)), nn.MaxPool2d((2, 1))
    )
    assert along_y == RegularGrid(2.0, 0.5, (0.5, 0.5))
    assert along_x == RegularGrid(2.0, 1.0, (1.0, 1.0))
    assert period == (2, 2)


def test_shift_period_includes_inner_coarse_maps():
    along_y, _, period = one_map(nn.MaxPool2d(8), nn.Conv2d(3, 4, 1), nn.Upsample(scale_factor=4, mode="bilinear"))
    assert along_y.stride == 2.0
    assert period == (8, 8)


@pytest.mark.parametrize(("size", "centres"), [(28, [5.5, 13.5, 21.5]), (20, [3.5, 9.5, 15.5]), (16, [3.5, 7.5, 11.5])])
def test_pooling_to_fixed_grid_by_hand(size, centres):
    """Each of 3 cells is the mean of its part of 7, 5 or 4 smaller cells; small cell k is centred at 1.5 + 4 k.

    The parts of 7 cells are cells 0-2, 2-4 and 4-6; of 5 cells 0-1, 1-3 and 3-4; of 4 cells 0-1, 1-2 and 2-3.
    """
    along_y, along_x, _ = one_map(nn.AvgPool2d(4), nn.AdaptiveAvgPool2d(3))
    assert isinstance(along_y, MeasuredGrid)
    assert along_y.centres(3, size).tolist() == pytest.approx(centres)
    assert along_x.centres(3, size).tolist() == pytest.approx(centres)


def test_equal_centres_raise():
    """All 3 cells are the mean of one single cell."""
    along_y, _, _ = one_map(nn.AvgPool2d(4), nn.AdaptiveAvgPool2d(3))
    with pytest.raises(HypercolumnsError, match=r"the centres .* for an image with a side of 4 pixels; choose another"):
        along_y.centres(3, 4)


def test_global_pooling_is_centred_in_image():
    along_y, _, _ = one_map(nn.AvgPool2d(2), nn.AdaptiveAvgPool2d(1))
    assert along_y.centres(1, 40).tolist() == pytest.approx([19.5])
    assert along_y.centres(1, 90).tolist() == pytest.approx([44.5])


def test_backbone_with_pooling_to_fixed_grid():
    backbone = Backbone("vgg11", ["features.8", "avgpool"], vgg_weights())
    assert isinstance(backbone.taps[0].axes[0], RegularGrid)
    assert len(backbone.taps[1].axes[0].centres(7, 224)) == 7
    assert [tuple(cells.shape[1:]) for cells in backbone(torch.rand(1, 3, 64, 90))] == [(256, 16, 22), (512, 7, 7)]


def test_paths_apart_are_told():
    """A 2x2 mean at stride 2 is centred half a pixel after a 1x1 filter at stride 2, a second one by 1 pixel more."""

    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.path, self.shortcut = nn.Conv2d(3, 3, 1, stride=2), nn.AvgPool2d(2)

        def forward(self, x):
            return self.path(x) + self.shortcut(x)

    with torch.device("meta"):
        network = nn.Sequential(Block(), Block())

    def maps(images):
        return [network[0](images), network(images), torch.cat([images, images], 1)]

    assert path_spreads(maps, (32, 48)) == [0.5, 1.5, 0]
