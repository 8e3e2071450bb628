"""A small store: two shards of split train and one of split val."""

import pytest
from helpers.sample_store import write

from hypercolumns.store import writer


@pytest.fixture(autouse=True)
def small_shards(monkeypatch):
    """Limit shards to three images."""
    monkeypatch.setattr(writer, "MIN_SHARD_IMAGES", 3)


@pytest.fixture
def fingerprint():
    return {"seed": 1, "cnn": {"network": "none", "taps": [["a", "b"], "c"]}}


@pytest.fixture
def folder(tmp_path, fingerprint):
    """Return the folder of a finished store."""
    write(tmp_path / "store", fingerprint)
    return tmp_path / "store"
