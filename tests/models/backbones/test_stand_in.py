"""The centres of maps of networks that run as plain code: gates, attention, windows and maps with channels last."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from hypercolumns.models.backbones.receptive_field import cell_grids
from hypercolumns.models.taps import RegularGrid


def grids(layers, **settings):
    """Return the grids along y and x of the map that a list of modules computes, which is built on the meta device."""
    ((along_y, along_x),) = cell_grids(lambda x: [layers(x)], 12, **settings)
    return along_y, along_x


def on_meta(*layers):
    return nn.Sequential(*layers).to("meta")


class Gate(nn.Module):
    """A gate that is pooled without padding and stretched again, so that its centres differ from those of the map."""

    def __init__(self, factor):
        super().__init__()
        self.convolution, self.factor = nn.Conv2d(8, 8, 3), factor

    def forward(self, x):
        coarse = self.convolution(F.avg_pool2d(x, 2, 2))
        return x * F.interpolate(self.factor(coarse), x.shape[2:])


@pytest.mark.parametrize("factor", [torch.sigmoid, F.hardsigmoid, nn.Sigmoid(), lambda x: x.softmax(1)])
def test_factor_does_not_move_centres(factor):
    """A map at the same place has the extent of the gate, too; without the factor, the mean lies elsewhere."""
    for grid in grids(on_meta(nn.Conv2d(3, 8, 2, stride=2), Gate(factor))):
        assert (grid.stride, grid.offset) == (2, 0.5)
        assert min(grid.rf_extent) > 2
    moved, _ = grids(on_meta(nn.Conv2d(3, 8, 2, stride=2), Gate(nn.ReLU())))
    assert not isinstance(moved, RegularGrid) or (moved.stride, moved.offset) != (2, 0.5)


def test_sigmoid_as_activation_keeps_centres():
    """A network whose only activations are sigmoids has no other features."""
    layers = [nn.Conv2d(3, 8, 3, 2), nn.Sigmoid()], [nn.Conv2d(8, 8, 3, 2), nn.Sigmoid(), nn.SiLU()]
    assert grids(on_meta(*layers[0], *layers[1])) == (RegularGrid(4, 3, (3, 3)),) * 2


def matmul(q, k, v):
    return (q @ k.transpose(-2, -1)).softmax(-1) @ v


def batched(q, k, v):
    return torch.bmm(torch.bmm(q, k.transpose(1, 2)).softmax(-1), v)


def einsum(q, k, v):
    return torch.einsum("bnm,bmc->bnc", torch.einsum("bnc,bmc->bnm", q, k).softmax(-1), v)


class Attention(nn.Module):
    """Attention among the cells of a map (B, 8, h, w), with or without a residual path."""

    def __init__(self, attend, residual=True):
        super().__init__()
        self.attend, self.residual = attend, residual
        self.qkv, self.out, self.norm = nn.Linear(8, 24), nn.Linear(8, 8), nn.LayerNorm(8)
        self.scale = nn.Parameter(torch.ones(8))

    def forward(self, x):
        tokens = x.flatten(2).transpose(1, 2)
        attended = self.out(self.attend(*self.qkv(self.norm(tokens)).chunk(3, -1))) * self.scale
        return (tokens + attended if self.residual else attended).transpose(1, 2).reshape(x.shape)


@pytest.mark.parametrize("attend", [matmul, batched, einsum, F.scaled_dot_product_attention])
def test_attention_keeps_centres_without_extent(attend):
    network = on_meta(nn.Conv2d(3, 8, 4, stride=4), Attention(attend), nn.Conv2d(8, 8, 2, stride=2))
    assert grids(network) == (RegularGrid(8, 3.5, None),) * 2


def test_multi_head_attention_keeps_centres():
    attention = nn.MultiheadAttention(8, 2, batch_first=True).to("meta").eval()
    layer = Attention(lambda q, k, v: attention(q, k, v, need_weights=False)[0])
    assert grids(on_meta(nn.Conv2d(3, 8, 4, stride=4), layer)) == (RegularGrid(4, 1.5, None),) * 2


def test_attention_without_other_path_raises():
    with pytest.raises(ValueError, match=r"a map depends on the image by attention alone, .* choose other taps"):
        grids(on_meta(nn.Conv2d(3, 8, 4, stride=4), Attention(matmul, residual=False)))


class Windows(nn.Module):
    """Attention in shifted windows of 4 x 4 cells with channels last, an embedding, and a merging of 2 x 2 cells."""

    def __init__(self, size):
        super().__init__()
        self.first = nn.Conv2d(3, 8, 4, stride=4)
        self.position = nn.Parameter(torch.zeros(1, 1, 1, 8))
        self.bias = nn.Parameter(torch.zeros(16, 16))
        self.norm, self.qkv, self.merge = nn.LayerNorm(8), nn.Linear(8, 24), nn.Linear(32, 16)
        self.size = size

    def forward(self, image):
        x = self.first(image).permute(0, 2, 3, 1) + self.position
        batch, height, width, _ = x.shape
        shifted = torch.roll(self.norm(x), (-2, -2), (1, 2))
        shifted = F.pad(shifted, (0, 0, 0, -width % 4, 0, -height % 4))
        h, w = shifted.shape[1:3]
        parts = shifted.view(batch, h // 4, 4, w // 4, 4, 8).permute(0, 1, 3, 2, 4, 5).contiguous().view(-1, 16, 8)
        q, k, v = self.qkv(parts).split(8, -1)
        mask = torch.zeros(1, h, w, 1, device=image.device).view(-1, 16)[:, None] + self.bias
        parts = ((q @ k.transpose(1, 2)) + mask.repeat(batch, 1, 1)).softmax(-1) @ v
        shifted = parts.view(batch, h // 4, w // 4, 4, 4, 8).permute(0, 1, 3, 2, 4, 5).reshape(batch, h, w, 8)
        x = x + torch.roll(shifted[:, :height, :width], (2, 2), (1, 2))
        x = F.pad(x, (0, 0, 0, width % 2, 0, height % 2))
        x = torch.cat([x[:, 0::2, 0::2], x[:, 1::2, 0::2], x[:, 0::2, 1::2], x[:, 1::2, 1::2]], -1)
        return self.merge(x).permute(0, 3, 1, 2)


@pytest.mark.parametrize("multiple", [1, 32])
def test_shifted_windows_keep_centres(multiple):
    """4 x 4 pixels at stride 4: 1.5; 2 x 2 cells: + 2."""
    assert grids(Windows(4).to("meta"), multiple=multiple) == (RegularGrid(8, 3.5, None),) * 2


def test_cells_join_parameters_without_place():
    class Tokens(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.token = nn.Conv2d(3, 8, 4, stride=4), nn.Parameter(torch.zeros(1, 1, 8))

        def forward(self, image):
            x = self.first(image)
            tokens = torch.cat([self.token.expand(len(x), -1, -1), x.flatten(2).transpose(1, 2)], 1)
            return tokens[:, 1:].transpose(1, 2).reshape(x.shape)

    assert grids(Tokens().to("meta")) == (RegularGrid(4, 1.5, (1.5, 1.5)),) * 2


@pytest.mark.parametrize(
    ("layer", "expected"),
    [
        (nn.PixelUnshuffle(3), RegularGrid(3, 1, (1, 1))),
        (nn.Upsample(scale_factor=0.5, mode="bilinear"), RegularGrid(2, 0.5, (0.5, 0.5))),
        (nn.Unflatten(1, (3, 1)), None),
    ],
)
def test_moves_of_values_run_unchanged(layer, expected):
    if expected is None:
        layer = nn.Sequential(layer, nn.Flatten(1, 2))
        expected = RegularGrid(1, 0, (0, 0))
    assert grids(layer, multiple=12) == (expected,) * 2


def test_unfold_and_conv1d_run_on_cells():
    """Patches of 4 x 4 pixels as tokens, then a convolution with kernel 1 over the tokens."""

    class Unfolded(nn.Module):
        def __init__(self):
            super().__init__()
            self.project = nn.Conv1d(48, 8, 1)

        def forward(self, image):
            tokens = self.project(F.unfold(image, 4, stride=4))
            return tokens.reshape(len(image), 8, image.shape[2] // 4, image.shape[3] // 4)

    assert grids(Unfolded().to("meta")) == (RegularGrid(4, 1.5, (1.5, 1.5)),) * 2


def test_sides_are_multiples():
    def maps(image):
        assert image.shape[2] % 12 == image.shape[3] % 12 == 0
        return [F.adaptive_avg_pool2d(image, 3)]

    ((along_y, _),) = cell_grids(maps, 4, multiple=12)
    assert along_y.centres(3, 30).tolist() == pytest.approx([5.5, 17.5, 29.5])  # measured at 36 pixels


class GroupStd(nn.Module):
    """Division by the standard deviation of groups of channels, expanded to the whole map, as in EvoNorm-S0."""

    def forward(self, x):
        groups = x.reshape(len(x), 2, 4, *x.shape[2:])
        return x / groups.var((2, 3, 4), keepdim=True).sqrt().expand(groups.shape).reshape(x.shape)


def test_expanded_statistics_keep_centres():
    for grid in grids(on_meta(nn.Conv2d(3, 8, 2, stride=2), GroupStd(), nn.Conv2d(8, 8, 2, stride=2))):
        assert (grid.stride, grid.offset) == (4, 1.5)
