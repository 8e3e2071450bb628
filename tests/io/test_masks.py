"""Mask files: which ones are read, and which class index each pixel gets."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers.png import write_png
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image

from hypercolumns.errors import HypercolumnsError
from hypercolumns.io.masks import read_mask, summarise_mask, write_mask
from hypercolumns.labels import LabelScheme, colourise, voc_palette

SCHEME = LabelScheme.of(["a", "b", "c"])
LABELS = np.array([[0, 1, 2], [2, 255, 0]], np.uint8)
FORMAT_OF = {"bool": "PNG", "uint8": "PNG", "uint16": "PNG", "int32": "TIFF", "float32": "TIFF"}


def test_mask_round_trip(tmp_path):
    write_mask(tmp_path / "m.png", LABELS, voc_palette(3))
    with Image.open(tmp_path / "m.png") as image:
        assert image.mode == "P"
    assert read_mask(tmp_path / "m.png", SCHEME).tolist() == LABELS.tolist()
    assert [path.name for path in tmp_path.iterdir()] == ["m.png"]


def test_palette_mask_holds_indices(tmp_path):
    write_mask(tmp_path / "m.png", LABELS, ((9, 9, 9), (9, 9, 9), (0, 0, 0)))
    assert read_mask(tmp_path / "m.png", SCHEME).tolist() == LABELS.tolist()


def test_grey_mask_holds_indices(tmp_path):
    Image.fromarray(LABELS).save(tmp_path / "m.png")
    assert read_mask(tmp_path / "m.png", SCHEME).tolist() == LABELS.tolist()


@pytest.mark.parametrize("suffix", ["png", "tif", "bmp"])
def test_one_bit_mask_holds_zero_and_one(tmp_path, suffix):
    path, values = tmp_path / f"m.{suffix}", np.array([[0, 1, 1], [1, 0, 0]], np.uint8)
    Image.fromarray(values.astype(bool)).save(path)
    with Image.open(path) as image:
        assert image.mode == "1"
    assert read_mask(path, SCHEME).tolist() == values.tolist()
    assert summarise_mask(path).counts == {0: 3, 1: 3}


def test_rgb_mask_is_mapped_by_palette(tmp_path):
    Image.fromarray(colourise(LABELS, voc_palette(3))).save(tmp_path / "m.png")
    mask = read_mask(tmp_path / "m.png", SCHEME)
    assert mask.dtype == torch.uint8
    assert mask.tolist() == LABELS.tolist()


def test_colour_among_grey_rgb_values_raises(tmp_path):
    grey = np.stack([LABELS] * 3, -1)
    by_value = replace(SCHEME, rgb_by_value=True)
    Image.fromarray(grey).save(tmp_path / "m.png")
    assert read_mask(tmp_path / "m.png", by_value).tolist() == LABELS.tolist()
    grey[1, 2] = (128, 0, 0)  # a class's colour
    Image.fromarray(grey).save(tmp_path / "m.png")
    with pytest.raises(
        HypercolumnsError, match=r"m\.png.* differ at row 1, column 2: \(128, 0, 0\); save the mask like"
    ):
        read_mask(tmp_path / "m.png", by_value)


def test_colour_outside_palette_raises(tmp_path):
    pixels = colourise(LABELS, voc_palette(3))
    pixels[1, 2] = 1, 2, 3
    Image.fromarray(pixels).save(tmp_path / "m.png")
    message = (
        r"m\.png has colours .* in the palette \(1 in all\), for example \(1, 2, 3\) at row 1, column 2; an RGB mask"
    )
    with pytest.raises(HypercolumnsError, match=message):
        read_mask(tmp_path / "m.png", SCHEME)


def test_label_outside_classes_raises(tmp_path):
    Image.fromarray(LABELS).save(tmp_path / "m.png")
    message = (
        r"m\.png: 2 pixels have labels that are not a class \(2\); the classes and void have the labels 0 to 1, 255: "
    )
    with pytest.raises(HypercolumnsError, match=message):
        read_mask(tmp_path / "m.png", LabelScheme.of(["a", "b"]))


def test_16_bit_mask_holds_indices(tmp_path):
    Image.fromarray(LABELS.astype(np.uint16)).save(tmp_path / "m.png")
    mask = read_mask(tmp_path / "m.png", SCHEME)
    assert (mask.dtype, mask.tolist()) == (torch.uint8, LABELS.tolist())
    # The lower 8 bits alone would be valid labels.
    Image.fromarray(LABELS.astype(np.uint16) + 256).save(tmp_path / "m.png")
    with pytest.raises(HypercolumnsError, match=r"6 pixels have labels that are not a class \(256, 257, 258, 511\)"):
        read_mask(tmp_path / "m.png", SCHEME)


@settings(max_examples=60)
@given(st.data(), st.sampled_from(sorted(FORMAT_OF)), st.sampled_from([(), (), (2,), (3,), (4,)]))
def test_any_mask_gives_its_labels_or_an_error(tmp_path_factory, data, kind, channels):
    """A mask is read as the labels that it holds, or refused by a HypercolumnsError."""
    shape = (*data.draw(st.tuples(st.integers(1, 5), st.integers(1, 5))), *(channels if kind == "uint8" else ()))
    values = {"elements": st.sampled_from([0, 1, 2, 255])} if data.draw(st.booleans()) and kind[0] == "u" else {}
    pixels = data.draw(arrays.arrays(kind, shape, **values))
    path = tmp_path_factory.getbasetemp() / "any.png"
    Image.fromarray(pixels).save(path, format=FORMAT_OF[kind])
    if kind[0] == "u" and pixels.ndim == 2 and np.isin(pixels, [0, 1, 2, 255]).all():
        assert read_mask(path, SCHEME).tolist() == pixels.tolist()
    elif kind == "bool":
        assert read_mask(path, SCHEME).tolist() == pixels.astype(int).tolist()
    elif (
        pixels.shape[2:] in ((3,), (4,))
        and (pixels[..., 3:] == 255).all()
        and (pixels[..., None, :3] == np.array(voc_palette(3))).all(-1).any(-1).all()
    ):
        assert (colourise(read_mask(path, SCHEME).numpy(), voc_palette(3)) == pixels[..., :3]).all()
    else:
        with pytest.raises(HypercolumnsError, match=r"any\.png.*; "):
            read_mask(path, SCHEME)


@settings(max_examples=30)
@given(arrays.arrays("uint8", (3, 4), elements=st.sampled_from([0, 1, 2, 7, 255])))
def test_any_rgb_mask_gives_labels_or_an_error(tmp_path_factory, labels):
    path = tmp_path_factory.getbasetemp() / "coloured.png"
    Image.fromarray(colourise(labels, voc_palette(8))).save(path)
    if 7 in labels:
        with pytest.raises(HypercolumnsError, match=r"not in the palette .* example \(128, 128, 128\) at row"):
            read_mask(path, SCHEME)
    else:
        assert read_mask(path, SCHEME).tolist() == labels.tolist()


@pytest.mark.parametrize("kind", ["L;2", "L;4", "RGB;16B", "RGBA", "JPEG"])
def test_mask_in_other_format_raises(tmp_path, kind):
    """Pillow scales values with fewer than 8 bits and drops bits of larger values; JPEG changes values."""
    path = tmp_path / "m.png"
    if kind in ("L;2", "L;4"):
        write_png(path, int(kind[2]), 0, [b"\x01\x10"])
    elif kind == "RGB;16B":
        write_png(path, 16, 2, [b"\x80\0\0\0\0\0"])
    else:
        image = Image.new("L" if kind == "JPEG" else kind, (2, 3))
        image.save(path, format="JPEG" if kind == "JPEG" else "PNG")
    message = {
        "JPEG": r"in a supported format \(PNG, TIFF, BMP\)",
        "RGBA": "must not have transparent pixels",
    }.get(kind, f"must hold class indices .* this file is {kind}; convert the file")
    with pytest.raises(HypercolumnsError, match=rf"m\.png.*{message}"):
        read_mask(path, SCHEME)
