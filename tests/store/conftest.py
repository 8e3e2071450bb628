"""A small store: two shards of train, one of val."""

import pytest
import torch

from hypercolumns.store import ImageSamples, StoreWriter, writer

SPLITS = {"train": 5, "val": 2}
COUNTS = [3, 0, 4, 2, 1]  # samples of each image


def make_image(number, count=None):
    generator = torch.Generator().manual_seed(number)
    count = COUNTS[number] if count is None else count
    return ImageSamples(
        f"image {number}",
        (10 + number, 20),
        torch.randint(0, 10, (count, 2), generator=generator),
        torch.randint(0, 5, (count,), generator=generator),
        torch.randn(count, 6, generator=generator) * 100 + 1000,
    )


def write(folder, fingerprint, make=make_image, splits=SPLITS):
    """What stage extract does."""
    with StoreWriter(folder, fingerprint, splits) as store:
        for split in splits:
            for shard in store.claims(split):
                store.write(shard, [make(number) for number in store.images(shard)])
        store.write_index()


@pytest.fixture(autouse=True)
def small_shards(monkeypatch):
    monkeypatch.setattr(writer, "MIN_SHARD_IMAGES", 3)


@pytest.fixture
def fingerprint():
    return {"seed": 1, "cnn": {"network": "none", "taps": [["a", "b"], "c"]}}


@pytest.fixture
def folder(tmp_path, fingerprint):
    write(tmp_path / "store", fingerprint)
    return tmp_path / "store"
