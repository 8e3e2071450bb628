"""Image scales: centres by a ramp, maps by hand, windows against the whole image, the model's file, training."""

import itertools
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from hypercolumns import Backbone, HypercolumnExtractor, MLPClassifier, Segmenter
from hypercolumns.errors import ArgumentError
from hypercolumns.models.alignment import dense

TAPS = ["features.0", "features.3", "features.6"]


def squeezenet(scales: list[float], **others: object) -> Backbone:
    return Backbone("squeezenet1_1", TAPS, scales=scales, **others).eval()


def test_a_ramp_shows_the_centres_of_cells() -> None:
    backbone = Backbone("rgb", ["image"], mean=[0, 0, 0], std=[1, 1, 1], scales=[0.25, 1, 3])
    y, x = torch.meshgrid(torch.arange(24.0), torch.arange(36.0), indexing="ij")
    maps = backbone(torch.stack([y, x, y])[None])
    assert [tuple(values.shape[2:]) for values in maps] == [(72, 108), (24, 36), (6, 9)]
    assert [tuple(values.shape[2:]) for values in maps] == backbone.map_sizes(24, 36)
    for values, tap in zip(maps, backbone.taps, strict=True):
        rows, columns = (
            axis.centres(cells, size) for axis, cells, size in zip(tap.axes, values.shape[2:], (24, 36), strict=True)
        )
        inside = slice(1, -1)  # a larger image is constant beyond the centres of the outermost pixels
        torch.testing.assert_close(values[0, 0, inside, 0].double(), rows[inside])
        torch.testing.assert_close(values[0, 1, 0, inside].double(), columns[inside])


def test_maps_equal_the_network_at_each_scale() -> None:
    backbone, alone = squeezenet([1, 0.5, 2]), squeezenet([1])
    images = torch.rand(2, 3, 62, 90, generator=torch.Generator().manual_seed(0))
    half = images.unfold(2, 2, 2).unfold(3, 2, 2).mean((4, 5))
    twice = F.interpolate(images, (124, 180), mode="bilinear")
    expected = [*alone(twice), *alone(images), *alone(half)]
    for values, other in zip(backbone(images), expected, strict=True):
        torch.testing.assert_close(values, other, atol=1e-5, rtol=1e-5)
    assert [tap.name for tap in backbone.taps[-2:]] == ["features.3 at scale 0.5", "features.6 at scale 0.5"]


def test_sizes_follow_from_the_formula() -> None:
    backbone = squeezenet([0.5, 1, 2])
    assert backbone.multiple == 2
    assert Backbone("squeezenet1_1", ["features.0"], scales=[4]).tapped.info.map_sizes(30, 33) == [(59, 65)]
    for height, width in itertools.product(range(backbone.min_side, backbone.min_side + 40, 2), (48, 62)):
        sizes = backbone.tapped.info.map_sizes(height, width)
        assert sizes == [tuple(values.shape[2:]) for values in backbone.layer_maps(torch.rand(1, 3, height, width))]


@pytest.mark.parametrize("scales", [[1, 0.5], [2, 1], [0.5]])
def test_windows_equal_the_whole_image(scales: list[float]) -> None:
    backbone = squeezenet(scales, context=["local_mean:3", "pyramid:2"])
    images = torch.rand(1, 3, 301, 203, generator=torch.Generator().manual_seed(1))
    whole, cut = (HypercolumnExtractor(backbone, max_window_pixels=pixels) for pixels in (10**6, 150**2))
    values = torch.cat(
        [dense(window.maps, torch.arange(301).double(), torch.arange(203).double()) for window in whole.windows(images)]
    )
    windows = list(cut.windows(images))
    assert len(windows) > 1
    for window in windows:
        rows, columns = (torch.arange(part.start, part.stop).double() for part in (window.rows, window.columns))
        part = dense(window.maps, rows, columns)
        torch.testing.assert_close(part, values[:, :, window.rows, window.columns], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(("scales", "alone"), [([1, 0.5], 1), ([2, 1, 0.25], 1), ([0.25, 0.5], 0.5)])
def test_context_is_that_of_the_image_itself(scales: list[float], alone: float) -> None:
    names, images = ["local_mean:3", "pyramid:2"], torch.rand(1, 3, 152, 132)
    several, single = squeezenet(scales, context=names), squeezenet([alone], context=names)
    assert several.map_sizes(152, 132)[-2:] == single.map_sizes(152, 132)[-2:]
    for ours, theirs in zip(several.taps[-2:], single.taps[-2:], strict=True):
        for axis, of in zip(ours.axes, theirs.axes, strict=True):
            assert torch.equal(axis.centres(3, 152), of.centres(3, 152))
    for values, alone_values in zip(several(images)[-2:], single(images)[-2:], strict=True):
        torch.testing.assert_close(values, alone_values)


def test_logits_equal_those_of_concatenated_maps() -> None:
    backbone = squeezenet([1, 0.5])
    classifier = MLPClassifier(backbone.channels, 4, hidden=8)
    segmenter = Segmenter(HypercolumnExtractor(backbone), classifier, ["a", "b", "c", "d"]).eval()
    images = torch.rand(1, 3, 75, 66)
    columns = segmenter.extractor(images)
    expected = classifier.rest(classifier.first(columns.permute(0, 2, 3, 1)))[0]
    torch.testing.assert_close(segmenter(images)[0].permute(1, 2, 0), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("scales", [[], [1, 1], [0.7], [16], [-1], ["2"], [True], "1", [0]])
def test_other_scales_are_refused(scales: object) -> None:
    with pytest.raises(ArgumentError, match="must be a list of one or more different factors"):
        Backbone("rgb", ["image"], scales=scales)  # type: ignore[arg-type]


def test_file_holds_the_scales(tmp_path: Path) -> None:
    backbone = squeezenet([0.5, 1], context=["pyramid:2"])
    classifier = MLPClassifier(backbone.channels, 2, hidden=4)
    segmenter = Segmenter(HypercolumnExtractor(backbone), classifier, ["a", "b"]).eval()
    segmenter.save(tmp_path / "model.safetensors")
    loaded = Segmenter.load(tmp_path / "model.safetensors")
    images = torch.rand(1, 3, 40, 51)
    assert torch.equal(loaded(images), segmenter(images))
    assert [tap.name for tap in loaded.backbone.taps] == [tap.name for tap in backbone.taps]
    assert backbone.fingerprint() != squeezenet([1]).fingerprint()
    assert backbone.fingerprint() == squeezenet([1, 0.5], context=["pyramid:2"]).fingerprint()


def test_window_counts_enlarged_pixels(monkeypatch: pytest.MonkeyPatch) -> None:
    backbone, seen = squeezenet([1, 2]), []
    local_maps = backbone.local_maps
    monkeypatch.setattr(backbone, "local_maps", lambda images: seen.append(images.shape) or local_maps(images))
    list(HypercolumnExtractor(backbone, max_window_pixels=400**2).windows(torch.rand(1, 3, 390, 390)))
    assert len(seen) > 1
    assert max(4 * shape[2] * shape[3] for shape in seen) <= 400**2


def test_gradients_are_the_sum_of_all_scales() -> None:
    backbone = squeezenet([1, 0.5], trainable="all")
    weight = backbone.body.get_parameter("features.0.weight")
    images = torch.rand(1, 3, 40, 40)

    def gradient(maps: list[torch.Tensor]) -> torch.Tensor:
        return torch.autograd.grad(sum(values.square().sum() for values in maps), weight)[0]

    count = len(TAPS)
    whole, parts = backbone(images), (backbone(images)[:count], backbone(images)[count:])
    torch.testing.assert_close(gradient(whole), gradient(parts[0]) + gradient(parts[1]), rtol=1e-4, atol=1e-4)


def test_trained_batch_norm_takes_one_scale() -> None:
    layers = ["layer1", "layer2"]
    with pytest.raises(ArgumentError, match=r"scales=\[1.0, 0.5\] does not work with trained BatchNorm layers"):
        Backbone("resnet18", layers, scales=[1, 0.5], trainable=1)
    Backbone("resnet18", layers, scales=[0.5], trainable=1)
    Backbone("resnet18", layers, scales=[1, 0.5])
