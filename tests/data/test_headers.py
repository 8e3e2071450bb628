"""The check of file headers before a stage begins."""

import re

import numpy as np
import pytest
from PIL import Image, ImageFile

from hypercolumns.cli.app import error_line
from hypercolumns.data import check_headers, voc
from hypercolumns.data.index import check_present
from hypercolumns.errors import HypercolumnsError, InvalidFileError


def test_missing_files_are_listed(root):
    layout = root / "VOCdevkit" / "VOC2012"
    (layout / "JPEGImages" / "a.jpg").unlink()
    (layout / "SegmentationClass" / "b.png").unlink()
    (layout / "SegmentationClass" / "c.png").unlink()
    (layout / "SegmentationClass" / "c.png").symlink_to("gone.png")
    message = (
        r"data voc2012: 3 files can't be used: .*b\.png does not exist; .*a\.jpg does not exist; "
        r".*c\.png is a link to gone\.png, which does not exist; add the file or leave it out of the data\. Repair "
    )
    with pytest.raises(InvalidFileError, match=message) as caught:
        check_headers(voc(root))
    assert re.search(r"\. Repair .*stage=validate .*data\.on_bad=skip", error_line(caught.value))
    with pytest.raises(HypercolumnsError, match=r"2 files of the train split are missing: .*b\.png, .*a\.jpg;"):
        check_present(voc(root))


def test_many_missing_files_are_counted(root):
    layout = root / "VOCdevkit" / "VOC2012"
    (layout / "ImageSets" / "Segmentation" / "train.txt").write_text("".join(f"{n:02}\n" for n in range(30)))
    with pytest.raises(
        HypercolumnsError,
        match=r"60 files can't .*/04\.jpg does not exist; add the file or .* out of the data; and 50 more\. Repair",
    ):
        check_headers(voc(root))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda image, mask: image.write_bytes(b""), r"a\.jpg is empty; replace it"),
        (lambda image, mask: mask.write_bytes(b"<html>"), r"a\.png is not an image in .* \(PNG, TIFF, BMP\)"),
        (
            lambda image, mask: Image.new("L", (6, 5)).save(mask),
            r"a\.png is 6x5, but its image .*a\.jpg is 6x4; both must",
        ),
        (
            lambda image, mask: Image.new("L", (4, 6)).save(mask),
            r"a\.png is 4x6, but its image .*a\.jpg is 6x4; both must",
        ),
        (lambda image, mask: Image.new("LA", (6, 4)).save(mask), r"a\.png a mask must hold .* this file is LA"),
        (
            lambda image, mask: Image.fromarray(np.zeros((4, 6), np.uint16)).save(image, format="PNG"),
            r"a\.jpg is a PNG with one channel of uint16, .*; set range=dtype",
        ),
        (
            lambda image, mask: Image.new("L", (30000, 3000)).save(mask),
            r"has 30000x3000 pixels, more than max_pix",
        ),
    ],
)
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_invalid_header_is_refused(root, spoil, message):
    layout = root / "VOCdevkit" / "VOC2012"
    spoil(layout / "JPEGImages" / "a.jpg", layout / "SegmentationClass" / "a.png")
    with pytest.raises(HypercolumnsError, match=f"data voc2012: 1 files can't be used: .*{message}"):
        check_headers(voc(root))


def test_pixels_are_not_decoded(root, monkeypatch):
    monkeypatch.setattr(ImageFile.ImageFile, "load", None)
    check_headers(voc(root))
