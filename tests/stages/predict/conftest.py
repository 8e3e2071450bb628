"""A working directory with a model file and images."""

import numpy as np
import pytest
from helpers.predictions import SIZES
from PIL import Image


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch, segmenter):
    """The working directory; it holds `model.safetensors`."""
    monkeypatch.chdir(tmp_path)
    segmenter.save(tmp_path / "model.safetensors")
    return tmp_path


@pytest.fixture
def photos(place):
    """A folder of random images with the names and sizes of `SIZES`."""
    random = np.random.default_rng(0)
    for name, size in SIZES.items():
        (place / "photos" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(random.integers(0, 255, (*size, 3), np.uint8)).save(place / "photos" / name)
    return place / "photos"
