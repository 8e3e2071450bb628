"""Files of other formats, as other programs write them, are named in the message that refuses them."""

import io

import imagecodecs
import numpy as np
import pytest
from helpers.image_reading import refused
from PIL import Image

from hypercolumns.io.file_kinds import KINDS, START, find_kind

PIXELS = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 5\n"


def by_pillow(form):
    file = io.BytesIO()
    Image.fromarray(PIXELS).save(file, form)
    return file.getvalue()


def by_numpy():
    file = io.BytesIO()
    np.save(file, PIXELS)
    return file.getvalue()


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (lambda: by_pillow("GIF"), "a GIF file"),
        (lambda: by_pillow("PDF"), "a PDF file"),
        (lambda: imagecodecs.jpeg2k_encode(PIXELS, codecformat="jp2"), "a JPEG 2000 file"),
        (lambda: imagecodecs.jpeg2k_encode(PIXELS, codecformat="j2k"), "a JPEG 2000 file"),
        (lambda: imagecodecs.jpegxl_encode(PIXELS, usecontainer=True), "a JPEG XL file"),
        (lambda: imagecodecs.jpegxl_encode(PIXELS, usecontainer=False), "a JPEG XL file"),
        (lambda: imagecodecs.avif_encode(PIXELS), "an AVIF file"),
        (lambda: b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "a HEIC file"),
        (lambda: bytes(128) + b"DICM" + bytes(60), "a DICOM file"),
        (lambda: b"\x89HDF\r\n\x1a\n" + bytes(60), "an HDF5 or NetCDF file"),
        (lambda: b"CDF\x01" + bytes(60), "a NetCDF file"),
        (lambda: b"\x76\x2f\x31\x01\x02\0\0\0" + bytes(60), "an OpenEXR file"),
        (lambda: b"SIMPLE  =                    T".ljust(2880), "a FITS file"),
        (by_numpy, "a NumPy file"),
    ],
)
def test_other_formats_are_named(tmp_path, make, name):
    (tmp_path / "i.png").write_bytes(make())
    formats = r"not an image in a supported format (JPEG, PNG, BMP, TIFF, WEBP)"
    assert (
        refused(tmp_path / "i.png") == f"is {name}, {formats}; convert it to TIFF or PNG, or leave it out of the data"
    )


def test_pointer_of_git_lfs_is_named(tmp_path):
    (tmp_path / "i.png").write_bytes(POINTER)
    message = refused(tmp_path / "i.png")
    assert message.startswith("is a pointer of Git LFS, not an image")
    assert message.endswith("; run git lfs pull to get the image itself")


@pytest.mark.parametrize("form", ["JPEG", "PNG", "BMP", "TIFF", "WEBP"])
def test_supported_formats_are_no_other_kind(form):
    assert find_kind(by_pillow(form)[:START]) is None


def test_start_holds_each_signature():
    assert max(kind.offset + len(kind.signature) for kind in KINDS) <= START
