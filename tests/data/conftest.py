"""Tiny data sets of constant images and masks."""

import numpy as np
import pytest
from PIL import Image


def save_image_and_mask(image, mask, value=1):
    """Save a constant image of 4x6 pixels, and a mask in which all pixels have the class `value`."""
    for path in (image, mask):
        path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((4, 6, 3), 50, np.uint8)).save(image)
    Image.fromarray(np.full((4, 6), value, np.uint8)).save(mask)


def save_voc(root):
    """Save images a, b and c in VOC's layout, with the lists train, val and odd, below `root`; return `root`."""
    layout = root / "VOCdevkit" / "VOC2012"
    for name in ("a", "b", "c"):
        save_image_and_mask(layout / "JPEGImages" / f"{name}.jpg", layout / "SegmentationClass" / f"{name}.png")
    lists = layout / "ImageSets" / "Segmentation"
    lists.mkdir(parents=True)
    (lists / "train.txt").write_text("b\na\n")
    (lists / "val.txt").write_text("c\n")
    (lists / "odd.txt").write_bytes("\ufeffc\r\n\r\na \r\n".encode())
    return root


@pytest.fixture
def make_pair():
    """Return the function `save_image_and_mask`."""
    return save_image_and_mask


@pytest.fixture
def root(tmp_path):
    """Return the folder of a data set in VOC's layout, which the test may change."""
    return save_voc(tmp_path)


@pytest.fixture(scope="module")
def shared_root(tmp_path_factory):
    """Return the folder of a data set in VOC's layout. The tests of a module share it, and only add lists to it."""
    return save_voc(tmp_path_factory.mktemp("shared"))


@pytest.fixture
def write(tmp_path):
    """Return a function that writes black images, and lists of two classes, to the folder `set`, and returns it."""

    def write(*names):
        for name in names:
            path = tmp_path / "set" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if path.suffix in (".txt", ".csv", ".json"):
                path.write_text("ground\ncat\n")
            else:
                Image.fromarray(np.zeros((3, 4, 3), np.uint8)).save(path)
        return tmp_path / "set"

    return write
