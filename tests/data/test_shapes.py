"""The synthetic data set of textured shapes."""

import hashlib

import numpy as np

from hypercolumns.data import shapes
from hypercolumns.data.datasets.shapes import CLASSES, draw
from hypercolumns.labels import IGNORE_INDEX


def test_same_seed_gives_same_files(tmp_path):
    first, same = (shapes(tmp_path / name, train_images=3, val_images=2).fingerprint() for name in "ab")
    assert first == same
    assert shapes(tmp_path, seed=1, train_images=3, val_images=2).fingerprint()["train"] != first["train"]


def test_images_of_both_splits_differ(tmp_path):
    images = shapes(tmp_path, train_images=2, val_images=2)
    digests = {hashlib.sha256(p.image.read_bytes()).digest() for pairs in images.splits.values() for p in pairs}
    assert len(digests) == 4


def test_second_call_draws_nothing(tmp_path):
    image = shapes(tmp_path, train_images=2, val_images=1).splits["train"][0].image
    before = image.stat().st_mtime_ns
    shapes(tmp_path, train_images=2, val_images=1)
    assert image.stat().st_mtime_ns == before


def test_images_vary_and_contain_all_classes():
    drawn = [draw(np.random.default_rng(seed)) for seed in range(40)]
    assert len({labels.shape for _, labels in drawn}) > 30
    values = np.unique(np.concatenate([labels.ravel() for _, labels in drawn]))
    assert values.tolist() == [*range(len(CLASSES)), IGNORE_INDEX]
    picture, labels = drawn[0]
    assert picture.shape == (*labels.shape, 3)
    inside = (labels[:, 1:] != labels[:, :-1]) & (labels[:, 1:] != IGNORE_INDEX) & (labels[:, :-1] != IGNORE_INDEX)
    assert not inside.any()  # void separates neighbouring classes
