"""Overlapping windows in fingerprints: a store with them does not fit a command without them."""

from types import SimpleNamespace

from helpers.small_runs import composed

from hypercolumns.models.backbones import Backbone
from hypercolumns.runs.lookup import differences
from hypercolumns.settings.fingerprint import shared_settings


def test_overlap_and_window_decide_the_store():
    backbone = Backbone("timm/test_vit", ["blocks.1"], mean=None, std=None)
    images = SimpleNamespace(fingerprint=lambda: {"name": "photos"})

    def of(*settings):
        return shared_settings(composed("train", "stage=extract", *settings), images, backbone)

    plain, cut = of(), of("window_overlap=32")
    assert set(differences(plain, cut)) == {"window_overlap", "max_window_pixels"}
    assert set(differences(cut, of("window_overlap=32", "max_window_pixels=20000"))) == {"max_window_pixels"}
    assert of("max_window_pixels=20000") == plain
    without_images = composed("train", "stage=rank_taps", "window_overlap=32")
    assert shared_settings(without_images, images, backbone).items() <= cut.items()
