"""Maps of overlapping windows, blended: against a loop over cells, and where they make no difference."""

import itertools
import re

import pytest
import torch

from hypercolumns.coordinates import full_image_box
from hypercolumns.errors import ArgumentError, HypercolumnsError, HypercolumnsWarning
from hypercolumns.models import memory_check
from hypercolumns.models.backbones import Backbone
from hypercolumns.models.classifiers import MLPClassifier
from hypercolumns.models.engine import AdaptiveSettings
from hypercolumns.models.extractor import HypercolumnExtractor
from hypercolumns.models.overlapping_windows import blended_maps, plan_windows
from hypercolumns.models.seen_images import SeenImages
from hypercolumns.models.segmenter import Segmenter

LIMIT, OVERLAP, PATCH = 96 * 96, 32, 16  # pixels
SIZE = (130, 250)


@pytest.fixture(scope="module")
def vit():
    """A small transformer with a context tap; its parameters hide nothing."""
    backbone = Backbone("timm/test_vit", ["blocks.1", "blocks.5", "pyramid:2"], mean=None, std=None).eval()
    with torch.no_grad():
        for values in backbone.parameters():
            if values.ndim < 2:
                values.uniform_(0.5, 1.5, generator=torch.Generator().manual_seed(0))
    return backbone


@pytest.fixture
def image():
    return torch.rand(1, 3, *SIZE, generator=torch.Generator().manual_seed(0))


def blend(backbone, images, limit=LIMIT, overlap=OVERLAP):
    seen = SeenImages(images, (images.shape[2], images.shape[3]), backbone)
    windows = plan_windows(backbone, seen.size, limit, overlap)
    with torch.no_grad():
        return blended_maps(backbone, seen, full_image_box(seen.size), windows), windows


def test_blend_equals_a_loop_over_cells(vit, image):
    """Each axis in turn: a cell's weight rises by its distance from the end of the overlap."""
    (blended, *_), (down, across) = blend(vit, image)
    padded = vit.pad(image)
    assert padded.shape[2:] == (144, 256)
    starts = [0, 48], [0, 64, 112, 160]  # of windows of 96 x 96 pixels, whose sides are 6 patches
    assert [[window.pixels.start for window in axis] for axis in (down, across)] == [*starts]
    with torch.no_grad():
        windows = {
            (top, left): vit.layer_maps(padded[:, :, top : top + 96, left : left + 96])[0]
            for top in starts[0]
            for left in starts[1]
        }
    expected = torch.zeros_like(blended)
    for row in range(9):
        for column in range(16):
            total = 0.0
            for top in starts[0]:
                for left in starts[1]:
                    y, x = row * 16 + 8 - top, column * 16 + 8 - left  # of the cell's centre, in the window
                    if not (0 < y < 96 and 0 < x < 96):
                        continue
                    weight = 1.0
                    for place, start, every in ((y, top, starts[0]), (x, left, starts[1])):
                        before = [each for each in every if each < start]
                        after = [each for each in every if each > start]
                        if before:
                            weight *= min(1, place / (before[-1] + 96 - start))
                        if after:
                            weight *= min(1, (96 - place) / (start + 96 - after[0]))
                    expected[:, :, row, column] += weight * windows[top, left][:, :, y // 16, x // 16]
                    total += weight
            expected[:, :, row, column] /= total
    assert torch.allclose(blended, expected, atol=1e-5)


def test_blend_of_what_each_pixel_says_is_exact():
    """The network `rgb` sees one pixel at a time, so windows change nothing."""
    backbone, images = Backbone("rgb", ["image"]), torch.rand(2, 3, 61, 83)
    (blended,), windows = blend(backbone, images, 20 * 20, 7)
    assert [len(axis) for axis in windows] == [5, 6]
    assert torch.allclose(blended, backbone(images)[0], atol=1e-6)


@pytest.mark.parametrize("size", [(96, 97), (100, 1000), (97, 333), (400, 112)])
def test_windows_cover_and_keep_to_the_limit(vit, size):
    padded = vit.padded_size(*size)
    for axis, length in zip(plan_windows(vit, padded, LIMIT, OVERLAP), padded, strict=True):
        for window, following in itertools.pairwise(axis):
            assert window.pixels.stop - following.pixels.start >= OVERLAP
        assert (axis[0].pixels.start, axis[-1].pixels.stop) == (0, length)
        for window in axis:
            assert window.pixels.start % PATCH == 0
        sums = torch.zeros(length // PATCH)
        for window in axis:
            sums[window.cells[0]] += window.weights[0]
        assert torch.allclose(sums, torch.ones(length // PATCH))
    down, across = plan_windows(vit, padded, LIMIT, OVERLAP)
    sides = [max(window.pixels.stop - window.pixels.start for window in axis) for axis in (down, across)]
    assert sides[0] * sides[1] <= LIMIT


def test_points_adaptive_and_dense_agree(vit, image):
    torch.manual_seed(0)
    extractor = HypercolumnExtractor(vit, max_window_pixels=LIMIT, window_overlap=OVERLAP)
    segmenter = Segmenter(extractor, MLPClassifier(vit.channels, 3, 8), ["a", "b", "c"]).eval()
    points, image = torch.tensor([[[0, 0], [95, 128], [70, 95], [48, 63]]]), image[:, :, :96, :129]
    with torch.no_grad():
        logits = segmenter(image)
        at = logits[0, :, points[0, :, 0], points[0, :, 1]].T
        assert torch.allclose(segmenter.logits_at(image, points)[0], at, atol=1e-4)
        everywhere = AdaptiveSettings(stride=4, margin=float("inf"))
        assert (segmenter.labels(image, everywhere) == logits.argmax(1)).float().mean() > 0.999
        extractor.max_window_pixels = 10**6
        assert not torch.allclose(segmenter(image), logits, atol=1e-3)


def test_settings_and_file_say_how_it_was_cut(vit, tmp_path):
    extractor = HypercolumnExtractor(vit, max_window_pixels=LIMIT, window_overlap=OVERLAP)
    assert extractor.settings()["window_overlap"] == OVERLAP
    assert extractor.settings()["max_window_pixels"] == LIMIT
    assert "max_window_pixels" not in HypercolumnExtractor(vit, max_window_pixels=LIMIT).settings()
    Segmenter(extractor, MLPClassifier(vit.channels, 2, 8), ["a", "b"]).save(tmp_path / "model.safetensors")
    assert Segmenter.load(tmp_path).extractor.settings() == extractor.settings()


def test_networks_that_need_none_or_allow_none(sqn):
    with pytest.raises(ArgumentError, match=r"window_overlap=64 is an approximation .* squeezenet1_0 does not need"):
        HypercolumnExtractor(sqn, window_overlap=64)
    with pytest.raises(ArgumentError, match=r"window_overlap=0 must be a whole number"):
        HypercolumnExtractor(sqn, window_overlap=0)


def test_overlap_too_large_for_the_windows(vit, image):
    extractor = HypercolumnExtractor(vit, max_window_pixels=LIMIT, window_overlap=49)
    message = r"window_overlap=49 does not fit windows of max_window_pixels=9216 .* whose sides are 96 .* to 64 pixels"
    with pytest.raises(ArgumentError, match=message):
        extractor(image)


def test_memory_is_said_again_only_if_it_grows(vit, monkeypatch):
    """Sizes within a third of each other give one warning, and an image of twice the pixels gives another one."""
    monkeypatch.setattr(memory_check, "ANNOUNCED_SHARE", 0)
    extractor = HypercolumnExtractor(vit, max_window_pixels=LIMIT)
    images = [torch.rand(1, 3, *size) for size in [(112, 112), (112, 128), (128, 112), (128, 128), (256, 144)]]
    with pytest.warns(UserWarning, match="GB of memory") as warned:
        list(map(extractor.view, images))
    sizes = [re.search(r"of (\d+x\d+) pixels", str(warning.message))[1] for warning in warned]
    assert sizes == ["112x112", "144x256"]


def test_whole_image_says_its_memory(vit, image, monkeypatch):
    extractor = HypercolumnExtractor(vit, max_window_pixels=LIMIT)
    extractor(image)  # no warning: it takes a small part of the free memory
    needed = 1.5 * vit.tapped.peak_bytes(1, 144, 256)
    monkeypatch.setattr(memory_check, "free_bytes", lambda device: 4.1 * needed)
    extractor(image)
    monkeypatch.setattr(memory_check, "free_bytes", lambda device: 3.9 * needed)
    with pytest.warns(HypercolumnsWarning, match=r"takes about 0\.00\d+ GB of memory"):
        extractor(image)
    monkeypatch.setattr(memory_check, "free_bytes", lambda device: 1.5 * vit.tapped.peak_bytes(1, 64, 128))
    message = (
        r"network=timm/test_vit takes about 0\.00\d+ GB of memory for an image of 256x144 pixels, .*train a model with "
        r"resize=\[(64|80),(112|128)\], which fits; or set window_overlap=64"
    )
    with pytest.raises(HypercolumnsError, match=message):
        extractor(image)
    extractor.set_window_overlap(OVERLAP)
    extractor(image)
