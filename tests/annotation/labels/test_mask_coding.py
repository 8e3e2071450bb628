"""Masks that are written, read again by the rules of all stages."""

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from hypercolumns.annotation.labels.mask_coding import MaskCoding
from hypercolumns.data.class_list import ClassEntry, ClassList
from hypercolumns.data.mask_encoding import decide_encoding
from hypercolumns.errors import HypercolumnsError
from hypercolumns.io.masks import read_mask, summarise_mask
from hypercolumns.labels import IGNORE_INDEX, LabelScheme

NAMES = ClassList.of(["sky", "tree", "road", "car"])
COLOURED = ClassList(
    (ClassEntry("sky", 3, (9, 9, 9)), ClassEntry("tree", 7, (1, 2, 3)), ClassEntry("car", 0, (0, 0, 0)))
)


@pytest.mark.parametrize("suffix", ["png", "tif", "bmp"])
@pytest.mark.parametrize("by_colour", [False, True])
@pytest.mark.parametrize(
    ("classes", "said"),
    [
        (NAMES, {}),
        (NAMES, {"void": "sky"}),
        (NAMES, {"void": [0, 255]}),
        (NAMES, {"map": {"car": "road"}}),
        (NAMES, {"map": {200: "rail", "tree": None}}),
        (COLOURED, {}),
        (COLOURED, {"void": 100, "map": {"car": "tree"}}),
    ],
    ids=range(7),
)
def test_labels_are_read_as_they_were_written(classes, said, by_colour, suffix, tmp_path):
    scheme = replace(classes.scheme(**said), palette_by_colour=by_colour)
    coding = MaskCoding.of(scheme)
    if by_colour and said.get("void") == 100:
        with pytest.raises(HypercolumnsError, match=r"read by their colours.* data\.encoding=values"):
            coding.check(scheme)
        return
    coding.check(scheme)
    values = [*range(len(scheme.classes)), IGNORE_INDEX]
    labels = np.random.default_rng(0).choice(values, (9, 14)).astype(np.uint8)
    path = tmp_path / f"mask.{suffix}"
    path.write_bytes(coding.encode(labels, path))
    assert (coding.decode(path) == labels).all()
    assert (read_mask(path, scheme).numpy() == labels).all()
    decided, _ = decide_encoding({path: summarise_mask(path)}, classes, scheme)
    assert (read_mask(path, decided).numpy() == labels).all()
    assert MaskCoding.from_json(coding.as_json()) == coding


def test_void_of_255_is_preferred():
    assert MaskCoding.of(NAMES.scheme(void=[0, 255])).values == (1, 2, 3, 255)
    assert MaskCoding.of(NAMES.scheme(void=0)).values == (1, 2, 3, 0)


def test_a_scheme_without_void_is_refused():
    with pytest.raises(HypercolumnsError, match="no value of a mask is void"):
        MaskCoding.of(NAMES.scheme(void="none"))


def test_values_above_8_bits_are_refused():
    classes = ClassList((ClassEntry("sky", 0), ClassEntry("tree", 300)))
    with pytest.raises(HypercolumnsError, match="the class tree has no value from 0 to 255"):
        MaskCoding.of(classes.scheme())


def test_a_palette_has_the_colours_of_the_classes(tmp_path):
    coding = MaskCoding.of(COLOURED.scheme())
    path = tmp_path / "a.png"
    path.write_bytes(coding.encode(np.array([[0, 1, 2]], np.uint8), path))
    with Image.open(path) as image:
        assert image.mode == "P"
        assert np.array(image.convert("RGB")).tolist() == [[[0, 0, 0], [9, 9, 9], [1, 2, 3]]]


def test_a_class_without_a_colour_is_named():
    scheme = replace(LabelScheme.of(["sky", "tree"], [(9, 9, 9), (9, 9, 9)]), palette_by_colour=True)
    with pytest.raises(HypercolumnsError, match=r"the class tree has no colour of its own, .*: \(9, 9, 9\)"):
        MaskCoding.of(scheme).check(scheme)
