"""The agreement of overlapping windows: against the labels of each window, computed alone."""

import functools
import itertools

import pytest
import torch
from helpers.networks import build

from hypercolumns.coordinates import full_image_box
from hypercolumns.models import overlap_agreement
from hypercolumns.models.alignment import FeatureMap, dense, locate_maps
from hypercolumns.models.backbones import Backbone
from hypercolumns.models.classifiers import MLPClassifier
from hypercolumns.models.extractor import HypercolumnExtractor
from hypercolumns.models.overlap_agreement import OverlapAgreement, compared_maps
from hypercolumns.models.overlapping_windows import plan_windows
from hypercolumns.models.seen_images import SeenImages
from hypercolumns.models.segmenter import Segmenter

SIDE, STARTS = 96, ([0, 48], [0, 64, 112, 160])  # of the windows of an image of 144 x 256 pixels, in pixels


def random_images(count, height=144, width=256):
    return torch.rand(count, 3, height, width, generator=torch.Generator().manual_seed(0))


def small_segmenter(backbone, **settings):
    """Build a segmenter whose labels vary: its classifier standardises the hypercolumns of random images."""
    torch.manual_seed(0)
    extractor, classifier = HypercolumnExtractor(backbone, **settings), MLPClassifier(backbone.channels, 3, 8)
    values = extractor(random_images(1)).movedim(1, -1).flatten(0, 2)
    classifier.set_statistics(values.mean(0), values.std(0))
    segmenter = Segmenter(extractor, classifier, ["a", "b", "c"]).eval()
    extractor.agreement = OverlapAgreement(segmenter.classifier)
    return segmenter


@torch.no_grad()
@pytest.mark.parametrize("images", [1, 2])
def test_counts_equal_those_of_each_window(monkeypatch, images):
    """All pixels are compared. The context tap is that of the blended map."""
    monkeypatch.setattr(overlap_agreement, "MAX_POINTS", 10**6)
    backbone = build("timm/test_vit", ["blocks.1", "pyramid:2"])
    segmenter = small_segmenter(backbone, max_window_pixels=SIDE * SIDE, window_overlap=32)
    images = random_images(images)
    (*_, context) = next(iter(segmenter.extractor.windows(images))).maps
    agreement = segmenter.extractor.agreement = OverlapAgreement(segmenter.classifier)
    segmenter.labels(images)

    votes = torch.zeros(len(images), 3, 144, 256)
    for top, left in itertools.product(*STARTS):
        maps = backbone.layer_maps(images[..., top : top + SIDE, left : left + SIDE])
        located = locate_maps(backbone.taps[:1], maps, (SIDE, SIDE), "exact")[0]
        window = FeatureMap(located.values, located.row_centres + top, located.column_centres + left)
        hypercolumns = dense([window, context], torch.arange(top, top + SIDE), torch.arange(left, left + SIDE))
        labels = segmenter.classifier(hypercolumns.permute(0, 2, 3, 1), None).argmax(-1)
        given = torch.nn.functional.one_hot(labels, 3).permute(0, 3, 1, 2)
        votes[..., top : top + SIDE, left : left + SIDE] += given
    seen = votes.sum(1)
    assert agreement.pixels == (seen > 1).sum()
    expected = ((votes.amax(1) == seen) & (seen > 1)).sum()
    assert 0.2 < agreement.agreed / agreement.pixels < 0.99
    assert abs(agreement.agreed - expected) <= 5  # rounding changes the labels of single pixels


@torch.no_grad()
def test_few_pixels_stand_for_all(monkeypatch):
    segmenter = small_segmenter(build("timm/test_vit", ["blocks.1"]), max_window_pixels=SIDE * SIDE, window_overlap=32)
    shares = []
    for most in (10**6, 2000):
        monkeypatch.setattr(overlap_agreement, "MAX_POINTS", most)
        agreement = segmenter.extractor.agreement = OverlapAgreement(segmenter.classifier)
        segmenter.labels(random_images(1))
        shares.append(agreement.agreed / agreement.pixels)
    assert agreement.pixels == 2000
    assert shares[1] == pytest.approx(shares[0], abs=0.04)


@torch.no_grad()
def test_windows_that_see_the_same_agree():
    """The network `rgb` sees one pixel at a time, so all windows see the same."""
    backbone, size = Backbone("rgb", ["image"]), (61, 83)
    extractor, box = small_segmenter(backbone).extractor, full_image_box(size)
    seen, windows = SeenImages(random_images(2, *size), size, backbone), plan_windows(backbone, size, 400, 7)
    locate = functools.partial(extractor.locate, area=size, scales=(1, 1))
    compared_maps(extractor.agreement, locate, backbone, seen, box, windows)
    assert extractor.agreement.agreed == extractor.agreement.pixels > 0
    assert "agree on 100.0 % of" in extractor.agreement.message


def test_windows_of_several_scales_are_compared():
    backbone = Backbone("timm/test_vit", ["blocks.1"], mean=None, std=None, scales=[1, 0.5]).eval()
    segmenter = small_segmenter(backbone, max_window_pixels=SIDE * SIDE, window_overlap=32)
    segmenter.labels(random_images(1))
    assert segmenter.extractor.agreement.pixels > 0
