"""Context taps compared with slow references. Their use together with other taps is tested with the segmenter."""

import pytest
import torch
import torch.nn.functional as F
from helpers.maps import ALIGNMENTS
from helpers.networks import FIRES

from hypercolumns.coordinates import full_image_box
from hypercolumns.errors import HypercolumnsError
from hypercolumns.models.alignment import dense, locate_maps
from hypercolumns.models.backbones import Backbone
from hypercolumns.models.backbones.context import mean_matrix
from hypercolumns.models.backbones.tap_names import parse
from hypercolumns.models.extractor import HypercolumnExtractor
from hypercolumns.models.taps import RegularGrid, Tap


@pytest.fixture(scope="module")
def backbone():
    contexts = ["coordinates", "pyramid:1", "local_mean:3", "pyramid:6", "local_mean:7"]
    return Backbone("squeezenet1_0", ["features.0", FIRES[0], *contexts]).eval()


def test_global_taps_come_last(backbone):
    names = [
        "features.0",
        "features.3.expand1x1",
        "local_mean:3",
        "local_mean:7",
        "coordinates",
        "pyramid:1",
        "pyramid:6",
    ]
    assert [tap.name for tap in backbone.taps] == names
    assert [tap.channels for tap in backbone.taps] == [96, 128, 128, 128, 2, 128, 128]
    assert backbone.channels == 96 + 128 * 5 + 2
    assert Backbone(**{key: backbone.fingerprint()[key] for key in ("network", "taps")}).taps[-1].name == "pyramid:6"


@pytest.mark.parametrize("size", [(90, 131), (30, 24), (21, 21)])
def test_maps_and_centres_equal_means_by_loops(backbone, size):
    """The centre of a mean of cells is the mean of the cells' coordinates."""
    maps = backbone(torch.rand(2, 3, *size))
    deepest, height, width = maps[1], *maps[1].shape[2:]
    rows, columns = (
        axis.centres(n, s) for axis, n, s in zip(backbone.taps[1].axes, (height, width), size, strict=True)
    )
    coordinates = torch.stack(torch.meshgrid(rows, columns, indexing="ij"))[None]
    for tap, cells in zip(backbone.taps[2:], maps[2:], strict=True):
        kind, _, number = tap.name.partition(":")
        if kind == "coordinates":
            continue
        assert backbone.map_sizes(*size)[backbone.taps.index(tap)] == cells.shape[2:]
        centres = [axis.centres(n, s) for axis, n, s in zip(tap.axes, cells.shape[2:], size, strict=True)]
        n = int(number)
        for i in range(cells.shape[2]):
            for j in range(cells.shape[3]):
                if kind == "local_mean":
                    top, left = max(i - n // 2, 0), max(j - n // 2, 0)
                    part = ..., slice(top, i + n // 2 + 1), slice(left, j + n // 2 + 1)
                else:
                    down, across = min(n, height), min(n, width)
                    part = (
                        ...,
                        slice(i * height // down, -(-(i + 1) * height // down)),
                        slice(j * width // across, -(-(j + 1) * width // across)),
                    )
                assert torch.allclose(cells[..., i, j], deepest[part].mean((-2, -1)), atol=1e-6)
                inside = n // 2 <= i < height - n // 2 and n // 2 <= j < width - n // 2
                if kind == "pyramid" or inside:  # at the border, a local mean is centred as if the map continued
                    centre = torch.stack([centres[0][i], centres[1][j]])
                    assert torch.allclose(coordinates[part].mean((-2, -1))[0], centre)


@pytest.mark.parametrize("alignment", ALIGNMENTS)
@pytest.mark.parametrize(("size", "resize"), [((40, 57), None), ((9, 5), None), ((40, 57), (64, 33)), ((1, 1), None)])
def test_coordinates_are_those_of_the_pixels(backbone, alignment, size, resize):
    """The coordinates do not depend on alignment, padding or resizing; a crop's refer to its whole image."""
    (window,) = HypercolumnExtractor(backbone, alignment, resize).windows(torch.rand(2, 3, *size))
    rows, columns = (torch.arange(side) for side in size)
    expected = torch.stack(torch.meshgrid((rows + 0.5) / size[0], (columns + 0.5) / size[1], indexing="ij"))
    coordinates = dense(window.maps[4:5], rows, columns)
    assert torch.allclose(coordinates, expected.expand(2, -1, -1, -1), atol=1e-5)

    boxes = torch.tensor([[-3.0, -4.0, 80.0, 100.0], [5.0, 0.0, 10.0, 57.0]])
    (window,) = HypercolumnExtractor(backbone, alignment, resize).windows(torch.rand(2, 3, *size), boxes)
    coordinates = dense(window.maps[4:5], rows, columns)
    assert torch.allclose(coordinates[0, 0, :, 0], (rows + 3.5) / 80, atol=1e-5)
    assert torch.allclose(coordinates[0, 1, 0], (columns + 4.5) / 100, atol=1e-5)
    assert torch.allclose(coordinates[1, 0, :, 0], (rows - 4.5) / 10, atol=1e-5)


def test_hypercolumns_at_points_equal_dense(backbone):
    images = torch.rand(2, 3, 47, 66)
    placed = locate_maps(backbone.taps, backbone(images, full_image_box(images.shape[-2:])), (47, 66), "exact")
    points = torch.cartesian_prod(torch.arange(0, 47, 5), torch.arange(0, 66, 7))
    expected = dense(placed, torch.arange(47), torch.arange(66))[:, :, points[:, 0], points[:, 1]].transpose(1, 2)
    assert torch.allclose(HypercolumnExtractor(backbone).at(images, points.expand(2, -1, -1)), expected, atol=1e-5)


@pytest.mark.parametrize(
    "name", ["pyramid:0", "pyramid:", "pyramid:x", "local_mean:4", "local_mean:1", "pool:3", "local_mean:-3"]
)
def test_invalid_context_tap_raises(name):
    with pytest.raises(
        HypercolumnsError, match=rf"^{name} in the setting taps or context is not a context tap; write coordinates"
    ):
        Backbone("squeezenet1_0", ["features.0", name])


@pytest.mark.parametrize("taps", [["coordinates"], ["pyramid:1", "features.0"]])
def test_context_tap_before_modules_raises(taps):
    with pytest.raises(HypercolumnsError, match="must name modules of the network first, and then context taps"):
        Backbone("squeezenet1_0", taps)


def test_context_equals_context_taps_in_taps():
    separate = Backbone("rgb", ["image"], context=["coordinates", "local_mean:3"])
    together = Backbone("rgb", ["image", "local_mean:3", "coordinates"])
    assert [tap.name for tap in separate.taps] == ["image", "local_mean:3", "coordinates"]
    assert separate.fingerprint() == together.fingerprint()


@pytest.mark.parametrize("context", ["pyramid:6", ["image"], ["pyramid:2", 3], 6])
def test_invalid_context_raises(context):
    with pytest.raises(HypercolumnsError, match=r"^context=.* must be a list of context taps, such as \[pyramid:6"):
        Backbone("rgb", ["image"], context=context)


def test_context_tap_given_twice_raises():
    with pytest.raises(HypercolumnsError, match=r"^taps and context name pyramid:2 twice; name it once"):
        Backbone("rgb", ["image", "pyramid:2"], context=["pyramid:2"])


def test_parse_returns_none_for_modules():
    assert parse("features.0") is None
    assert parse("layer1.0.add") is None


@pytest.mark.parametrize(("length", "parts"), [(7, 3), (6, 6), (13, 5), (1, 1), (2, 6)])
def test_mean_matrix_equals_adaptive_pooling(length, parts):
    """With fewer cells than parts, the last cell also fills the remaining parts."""
    values = torch.arange(length).double() ** 2
    expected = F.adaptive_avg_pool1d(values[None], min(length, parts))[0]
    means = mean_matrix(length, parts) @ values
    assert torch.allclose(means[: len(expected)], expected)
    assert (means[len(expected) :] == values[-1]).all()


def test_local_mean_keeps_unlimited_extent():
    axes = (RegularGrid(8, 3.5, None), RegularGrid(8, 3.5, None))
    assert parse("local_mean:3").tap(Tap("deepest", 5, axes), None) == Tap("local_mean:3", 5, axes)
