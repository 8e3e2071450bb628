"""The reduction of maps, and its place in the first layer."""

import torch
from helpers.networks import FIRES

from hypercolumns.annotation.learning.reduction import Reduction, TapReduction
from hypercolumns.annotation.learning.views import NOWHERE
from hypercolumns.annotation.learning.whole_maps import compute_maps
from hypercolumns.models.alignment import at
from hypercolumns.models.backbones import Backbone
from hypercolumns.models.classifiers import MLPClassifier
from hypercolumns.models.extractor import HypercolumnExtractor


def test_components_reconstruct_cells_of_low_rank():
    torch.manual_seed(0)
    cells = torch.randn(200, 3) @ torch.randn(3, 10) + torch.randn(10)
    tap = TapReduction.fit(cells, components=3)
    reduced = (cells - tap.mean) / tap.std @ tap.basis
    torch.testing.assert_close(reduced @ tap.basis.T * tap.std + tap.mean, cells, atol=1e-4, rtol=0)
    values = cells.T.reshape(1, 10, 20, 10)
    torch.testing.assert_close(tap.apply(values)[0].flatten(1).T.float(), reduced, atol=0.01, rtol=0)


def test_constant_channels_are_not_amplified():
    cells = torch.randn(500, 4, generator=torch.Generator().manual_seed(0))
    cells[:, 0] *= 1e-4
    assert TapReduction.fit(cells, components=2).std[0] > 0.1
    assert TapReduction.fit(torch.ones(500, 4), components=2).std.tolist() == [1] * 4


def test_expanded_classifier_has_the_same_logits():
    torch.manual_seed(0)
    cells = [torch.randn(300, 6) * 3 + 1, torch.randn(300, 2)]
    reduction = Reduction([TapReduction.fit(each, components=4) for each in cells])
    classifier = MLPClassifier(reduction.channels, 3, hidden=5)
    taps = zip(cells, reduction.taps, strict=True)
    reduced = torch.cat([(each - tap.mean) / tap.std @ tap.basis for each, tap in taps], 1)
    expected = classifier(reduced, NOWHERE)
    found = reduction.expand(classifier, 3)(torch.cat(cells, 1), NOWHERE)
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


def test_cells_of_a_blank_image_keep_all_channels():
    """Its principal components say nothing about other images."""
    cells = torch.arange(8.0).repeat(200, 1)
    cells[:5, 0] += 1
    assert TapReduction.fit(cells, components=4).basis.shape == (8, 8)


def result(parts):
    while True:
        try:
            next(parts)
        except StopIteration as end:
            return end.value


def test_windows_give_the_maps_of_the_whole_image():
    backbone = Backbone("squeezenet1_0", ["features.0", FIRES[0]], seed=3).eval()
    image = torch.rand(3, 200, 260, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        whole, reduction = result(compute_maps(HypercolumnExtractor(backbone), image, 16))
        cut, _ = result(compute_maps(HypercolumnExtractor(backbone, max_window_pixels=20_000), image, 16, reduction))
        own, _ = result(compute_maps(HypercolumnExtractor(backbone, max_window_pixels=20_000), image, 16))
        points = torch.rand(1, 50, 2) * 200
        plain = HypercolumnExtractor(backbone).at(image[None], points)[0].split([96, 128], dim=1)
    for one, two in zip(whole, cut, strict=True):
        torch.testing.assert_close(one.values, two.values, atol=0.02, rtol=0.01)
        assert torch.equal(one.row_centres, two.row_centres)
    expected = [(part - tap.mean) / tap.std @ tap.basis for part, tap in zip(plain, reduction.taps, strict=True)]
    torch.testing.assert_close(at(whole, points)[0].float(), torch.cat(expected, 1), atol=0.03, rtol=0.01)
    assert [each.values.shape for each in own] == [each.values.shape for each in whole]
