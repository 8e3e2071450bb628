"""The check that the range of an image's type fits the values of a data set."""

import re
from dataclasses import replace

import numpy as np
import pytest
import tifffile
from PIL import Image

from hypercolumns.data import voc
from hypercolumns.data.value_check import check_values, stretch_note
from hypercolumns.errors import HypercolumnsError
from hypercolumns.io.decoding import ImageDecoding


def deep(root, largest, dtype="uint16"):
    """Replace each image by one of a deep type that holds 3 and a largest value, which grows from image to image."""
    paths = sorted((root / "VOCdevkit" / "VOC2012" / "JPEGImages").iterdir())
    for number, path in enumerate(paths):
        values = np.full((4, 6), 3, dtype)
        values[1, 2] = largest - (len(paths) - 1 - number)
        tifffile.imwrite(path, values)
    return voc(root)


def check(images, range):
    check_values(replace(images, decoding=ImageDecoding(range=range, prefix="data.")))


@pytest.mark.parametrize(
    ("largest", "fits", "dtype", "full"),
    [
        (375, r"\[0,511\]", "uint16", r"\[0,65535\]"),
        (4095, r"\[0,4095\]", "uint16", r"\[0,65535\]"),
        (4096, r"\[0,8191\]", "uint16", r"\[0,65535\]"),
        (8191, r"\[0,8191\]", "uint16", r"\[0,65535\]"),
        (4095, r"\[0,4095\]", "int16", r"\[-32768,32767\]"),
    ],
)
def test_nearly_black_range_is_refused(root, largest, fits, dtype, full):
    images = deep(root, largest, dtype)
    seen = rf"from 3 to {largest}; set data\.range={fits}, .* or data\.range=\[2%,98%\]; data\.range={full} keeps"
    with pytest.raises(HypercolumnsError, match=rf"data voc2012: data\.range=dtype would .* nearly black: .*{seen}"):
        check(images, "dtype")
    with pytest.raises(HypercolumnsError, match=rf"black and white is not known; set data\.range={fits}, which fits"):
        check(images, None)
    check(images, [0, 65535])


def test_used_range_passes(root):
    for range in ("dtype", None):
        check(deep(root, 8192), range)
    for path in (root / "VOCdevkit" / "VOC2012" / "JPEGImages").iterdir():
        Image.new("L", (6, 4), 20).save(path, "PNG")
    check(voc(root), "dtype")  # 8-bit images are shown as they are


def test_no_data_is_not_looked_at(root):
    images = voc(root)
    for path in (root / "VOCdevkit" / "VOC2012" / "JPEGImages").iterdir():
        values = np.full((4, 6), 300, np.uint16)
        values[0] = 65535
        tifffile.imwrite(path, values, extratags=[(42113, 2, 0, "65535", True)])
    with pytest.raises(HypercolumnsError, match=r"from 300 to 300; set data\.range=\[0,511\]"):
        check(images, "dtype")


@pytest.mark.parametrize("dtype", ["uint16", "float32"])
def test_stretched_deep_images_are_noted(root, dtype):
    def note(images, range):
        return stretch_note(replace(images, decoding=ImageDecoding(range=range, prefix="data.")))

    stretched = ["2%", "98%"]
    assert note(voc(root), stretched) is None  # 8 bits
    images = deep(root, 4095, dtype)
    wanted = r"\.jpg has more than 8 bits, or floats; data\.range=\[2%,98%\] stretches each .*, and data\.range=\[low,"
    assert re.search(wanted, note(images, stretched))
    assert note(images, [0, 4095]) is None
