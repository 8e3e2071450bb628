"""The contract of every backbone in conf/cnn: its taps match a table computed by hand, and measured gradients.

A convolution or pooling with kernel k, stride s and padding p moves the first centre by (k - 1) / 2 - p cells of its
input, and multiplies the stride by s.
"""

import copy
from typing import NamedTuple

import pytest
import torch
import torch.nn.functional as F
from helpers.paths import ROOT
from helpers.small_runs import config
from torch import fx, nn
from torchvision.ops import SqueezeExcitation

from hypercolumns.models.backbones.context import context_maps
from hypercolumns.models.classifiers import MLPClassifier
from hypercolumns.models.extractor import HypercolumnExtractor
from hypercolumns.models.segmenter import Segmenter
from hypercolumns.models.taps import RegularGrid
from hypercolumns.settings.model import backbone


class Expected(NamedTuple):
    """The expected taps of a backbone.

    Attributes:
        channels: the number of channels of each tap.
        centres: (offset, stride) of the local taps, for an image with odd sides.
        min_side: see `Backbone`.
        rf_extents: for each local tap, how many pixels a receptive field reaches to either side of a cell's centre; an
            item is None if the receptive field is the whole image. None: not compared.
    """

    channels: list[int]
    centres: list[tuple[float, float]]
    min_side: int = 1
    rf_extents: list[float | None] | None = None


def from_zero(*strides):
    """Return centres with offset 0: odd kernels k, padded by (k - 1) / 2 on both sides, move no first centre."""
    return [(0, stride) for stride in strides]


EXPECTED = {
    "rgb": Expected([3], [(0, 1)], rf_extents=[0]),
    # 7x7 at stride 2 without padding: 3. Each pooling, 3x3 at stride 2 without padding: + 2, + 4, + 8 and so on.
    "sqn": Expected(
        [96, 128, 128, 256, 384, 512],
        [(3, 2), (5, 4), (5, 4), (9, 8), (9, 8), (17, 16)],
        21,
        [3, 9, 13, 29, 45, 77],
    ),
    # The same network with context taps, which test_context.py covers.
    "sqn_context": Expected(
        [96, 128, 128, 256, 384, 512, 512, 512, 512, 512, 2],
        [(3, 2), (5, 4), (5, 4), (9, 8), (9, 8), (17, 16), (17, 16)],
        21,
        [3, 9, 13, 29, 45, 77, 93],
    ),
    "sqn_many": Expected(
        [96, 128, 128, 256, 256, 384, 384, 512, 512, *[512] * 6, 2],
        [(3, 2), (5, 4), (5, 4), (5, 4), (9, 8), (9, 8), (9, 8), (9, 8), (17, 16), (17, 16), (17, 16)],
        21,
    ),
    # 3x3 at stride 2 without padding: 1. Each pooling, as above: + 2, + 4, + 8.
    "squeezenet1_1": Expected(
        [64, 128, 256, 384, 512],
        [(1, 2), (3, 4), (7, 8), (15, 16), (15, 16)],
        17,
        [1, 11, 31, 71, 103],
    ),
    # Each pooling, 2x2: + 0.5, + 1, + 2, + 4.
    "vgg": Expected(
        [64, 128, 256, 512, 512], [(0, 1), (0.5, 2), (1.5, 4), (3.5, 8), (7.5, 16)], 16, [1, 3.5, 12.5, 30.5, 66.5]
    ),
    "vgg16": Expected(
        [64, 128, 256, 512, 512], [(0, 1), (0.5, 2), (1.5, 4), (3.5, 8), (7.5, 16)], 16, [2, 6.5, 19.5, 45.5, 97.5]
    ),
    # 7x7 and 3x3 pooling: 3 + 2; two blocks of two 3x3 at stride 4: + 16; at 8, the first of four at stride 4: + 28.
    "resnet18": Expected([64, 64, 128, 256, 512], from_zero(2, 4, 8, 16, 32), 1, [3, 21, 49, 105, 217]),
    # The same with one 3x3 a block: 5 + 3 * 4 = 17; + 4 + 3 * 8 = 45; + 8 + 5 * 16 = 133; + 16 + 2 * 32 = 213.
    "resnet50": Expected([64, 256, 512, 1024, 2048], from_zero(2, 4, 8, 16, 32), 1, [3, 17, 45, 133, 213]),
    # 3x3: 1; 3x3 at stride 2: + 2; 3x3 at strides 2 and 4: + 2 + 4.
    "mobilenet_v3_large": Expected([16, 24, 40, 112, 160], from_zero(2, 4, 8, 16, 32), 1, [3, 9, None, None, None]),
    "efficientnet_b0": Expected([16, 24, 40, 112, 320], from_zero(2, 4, 8, 16, 32), 1, [None] * 5),
    # 4x4 at stride 4: 1.5; 2x2 between the stages: + 2, + 4, + 8. A 7x7 in each of 3, 3, 9 and 3 blocks: 1.5 + 9 * 4,
    # + 2 + 9 * 8, + 4 + 27 * 16, + 8 + 9 * 32.
    "convnext_tiny": Expected(
        [96, 192, 384, 768], [(1.5, 4), (3.5, 8), (7.5, 16), (15.5, 32)], 32, [37.5, 111.5, 547.5, 843.5]
    ),
    # Patches of 14x14 or 16x16 pixels: 6.5 or 7.5.
    "dinov2": Expected([384] * 4, [(6.5, 14)] * 4, 14, [None] * 4),
    "dinov3": Expected([384] * 4, [(7.5, 16)] * 4, 16, [None] * 4),
    "eva02": Expected([384] * 4, [(6.5, 14)] * 4, 14, [None] * 4),
    "siglip": Expected([768] * 4, [(7.5, 16)] * 4, 16, [None] * 4),
    "vit_b_16": Expected([768] * 4, [(7.5, 16)] * 4, 16, [None] * 4),
    # The shortcut of a block with stride 2 averages 2x2 cells, its main path moves nothing: the mean of 2 and 0 is 1.
    "timm/test_resnet": Expected([32, 32, 48, 192, 96], [(0, 2), (0, 4), (1, 8), (3, 16), (7, 32)], 1),
    # Padded by TensorFlow's rule: equally on both sides for odd sizes, more at the end for even sizes.
    "timm/tf_mobilenetv3_small_minimal_100": Expected([16, 16, 24, 48, 576], from_zero(2, 4, 8, 16, 32), 1),
}
# These are slow, and similar to smaller networks in the table.
LARGE = ("vgg16", "resnet50", "efficientnet_b0", "sqn_many", "dinov2", "dinov3", "siglip", "vit_b_16")
BLOCKS = ("dinov2", "dinov3", "eva02", "siglip", "vit_b_16")  # test_blocks.py has more about these
ODD, EVEN = (65, 97), (128, 70)  # the sides of ODD stay odd when they are halved again and again (and rounded up)


def make(name):
    cnn, _, model = name.partition("/")
    overrides = [f"cnn={cnn}", "cnn.weights=null", *([f"cnn.model={model}"] if model else [])]
    return backbone(config("train", *overrides)).eval()


@pytest.fixture(
    scope="module",
    params=[pytest.param(name, marks=pytest.mark.slow) if name in LARGE else name for name in EXPECTED],
)
def named(request):
    """Return the name of a backbone, and the backbone with random weights."""
    return request.param, make(request.param)


def linear(backbone, kernel_line):
    """Copy a backbone so that its maps become weighted sums of pixels.

    Every kernel is the outer product of `kernel_line(height)` and `kernel_line(width)`. Max pooling becomes average
    pooling. Normalisation, activations, layer scales and gates become the fingerprint.
    """
    twin = copy.deepcopy(backbone).eval()
    twin.get_buffer("mean").zero_()
    twin.get_buffer("std").fill_(1)
    body = twin.body
    fingerprints = (nn.BatchNorm2d, nn.LayerNorm, SqueezeExcitation)
    for path, layer in list(body.named_modules()):
        if isinstance(layer, nn.Conv2d):
            across, down = (kernel_line(side) for side in layer.kernel_size[::-1])
            layer.weight.data = (down[:, None] * across).expand_as(layer.weight) / layer.weight.shape[1]
        elif isinstance(layer, nn.Linear):
            nn.init.constant_(layer.weight, 1 / layer.in_features)
        elif isinstance(layer, nn.MaxPool2d):
            replace(body, path, nn.AvgPool2d(layer.kernel_size, layer.stride, layer.padding, layer.ceil_mode))
        elif isinstance(layer, fingerprints) or "activation" in type(layer).__module__:
            replace(body, path, nn.Identity())
        if getattr(layer, "bias", None) is not None:
            nn.init.zeros_(layer.bias)
    for name, parameter in body.named_parameters():
        if name.endswith("layer_scale"):
            nn.init.ones_(parameter)
    if isinstance(body, fx.GraphModule):  # in a traced network, torchvision's LayerNorm2d is a function
        for node in body.graph.nodes:
            if node.target is F.layer_norm:
                node.replace_all_uses_with(node.args[0])
        body.recompile()
    return twin


def replace(body, path, layer):
    """Replace a layer, unless the module that holds it has become an nn.Identity."""
    above = path.rpartition(".")[0]
    if not isinstance(body.get_submodule(above), nn.Identity):
        body.set_submodule(path, layer)


def middle(side):
    """Return a kernel that reads only its central cells, so that the border of a map has no influence."""
    line = torch.zeros(side)
    line[(side - 1) // 2] += 0.5
    line[side // 2] += 0.5
    return line


def gradients(backbone, image):
    """Yield the index of a cell in the middle of each map, and each pixel's share (H, W) of that cell's value.

    The map of `coordinates` and the maps after it are left out: `coordinates` does not depend on the image's values.
    """
    local = backbone.local_maps(image.requires_grad_())
    contexts = [context for context in backbone.contexts if context.is_global]
    for cells in [*local, *context_maps(contexts, backbone.deepest(local), image.shape[2:])]:
        if not cells.requires_grad:
            return
        index = cells.shape[2] // 2, cells.shape[3] // 2
        (gradient,) = torch.autograd.grad(cells[0, :, *index].sum(), image, retain_graph=True)
        yield index, gradient[0].sum(0) / gradient.sum()


def test_table_covers_every_file_of_conf_cnn():
    assert {name.partition("/")[0] for name in EXPECTED} == {path.stem for path in ROOT.glob("conf/cnn/[!_]*.yaml")}


def test_taps_match_values_by_hand(named):
    name, backbone = named
    expected = EXPECTED[name]
    assert [tap.channels for tap in backbone.taps] == expected.channels
    assert backbone.multiple == (expected.min_side if name in BLOCKS else 1)
    assert backbone.min_side == expected.min_side
    layers = zip(backbone.taps, backbone.map_sizes(*backbone.padded_size(*ODD)), expected.centres, strict=False)
    assert len(expected.centres) == len([tap for tap in backbone.taps if not tap.is_global])
    for tap, cells, (offset, stride) in layers:
        for axis, count, size in zip(tap.axes, cells, backbone.padded_size(*ODD), strict=True):
            by_hand = [offset + stride * cell for cell in range(count)]
            assert axis.centres(count, size).tolist() == pytest.approx(by_hand, abs=1e-6), tap
    if expected.rf_extents is not None:
        for tap, extent in zip(backbone.taps, expected.rf_extents, strict=False):
            assert [axis.rf_extent for axis in tap.axes] == [None if extent is None else (extent, extent)] * 2


def test_size_dependent_padding_is_measured():
    """By TensorFlow's rule, for sides that stay even when halved, the centres move by + 1, + 2, + 4, + 8, + 16."""
    backbone = make("timm/tf_mobilenetv3_small_minimal_100")
    firsts = [
        float(tap.axes[0].centres(128 // stride, 128)[0])
        for tap, stride in zip(backbone.taps, (2, 4, 8, 16, 32), strict=True)
    ]
    assert firsts == pytest.approx([1, 3, 7, 15, 31])
    twin = copy.deepcopy(backbone)
    # The grids of a copy hold the network that they measure; it must have no weights.
    measured = {tap.axes[0].maps.args[0].args[0].__self__ for tap in twin.taps}
    assert all(values.is_meta for network in measured for values in network.state_dict().values())


def test_centres_equal_means_of_gradients(named):
    name, backbone = named
    if name in BLOCKS:
        return  # attention has no linear copy; test_blocks.py measures the gradients of real values
    averaging = linear(backbone, middle)
    for size in (ODD, EVEN):
        pixels = [torch.arange(side, dtype=torch.float32) for side in size]
        for tap, cells, (index, share) in zip(
            backbone.taps, backbone.map_sizes(*size), gradients(averaging, torch.ones(1, 3, *size)), strict=False
        ):
            reach = int(tap.name.removeprefix("local_mean:")) // 2 if tap.name.startswith("local_mean:") else 0
            at_border = min(min(n // 2, n - 1 - n // 2) for n in cells) < reach
            if tap.is_global or at_border or (reach and size == EVEN):
                continue  # a mean at the border covers fewer cells; test_context.py covers this case
            for axis in (0, 1):
                centre = tap.axes[axis].centres(cells[axis], size[axis])[index[axis]]
                mean = float(share.sum(1 - axis) @ pixels[axis])
                assert mean == pytest.approx(float(centre), abs=0.1 if reach else 1e-3), tap


def test_rf_extent_equals_extent_of_gradient(named):
    """Along one axis of a thin image: a cell depends on the pixels where its gradient is not zero."""
    name, backbone = named
    if name in BLOCKS:
        return  # their receptive fields are the whole image
    averaging = linear(backbone, torch.ones)
    of_layers = backbone.taps[: len(backbone.tap_modules)]
    local = [
        tap for tap in of_layers if isinstance(tap.axes[1], RegularGrid) and max(tap.axes[1].rf_extent or (99,)) < 60
    ]
    image = torch.ones(1, 3, 32, 160)
    for tap, (index, share) in zip(backbone.taps, gradients(averaging, image), strict=False):
        if tap in local:
            axis = tap.axes[1]
            centre = axis.offset + axis.stride * index[1]
            seen = share.sum(0).nonzero()
            assert (centre - int(seen.min()), int(seen.max()) - centre) == axis.rf_extent


@pytest.mark.parametrize("size", [(53, 75)])
def test_map_shapes_and_dense_equals_points(named, size):
    _, backbone = named
    torch.manual_seed(0)
    classifier = MLPClassifier(backbone.channels, 3, hidden=8)
    segmenter = Segmenter(HypercolumnExtractor(backbone), classifier, ["ground", "cat", "dog"]).eval()
    images = torch.rand(1, 3, *size)
    with torch.no_grad():
        maps = backbone(backbone.pad(images))
        points = torch.cartesian_prod(torch.arange(0, size[0], 4), torch.arange(0, size[1], 5))[None]
        dense = segmenter(images)[0, :, points[0, :, 0], points[0, :, 1]].T
        sparse = segmenter.logits_at(images, points)[0]
    assert [cells.shape[1] for cells in maps] == [tap.channels for tap in backbone.taps]
    assert [tuple(cells.shape[2:]) for cells in maps] == backbone.map_sizes(*backbone.padded_size(*size))
    assert torch.allclose(dense, sparse, atol=1e-5 * float(dense.abs().max()))
