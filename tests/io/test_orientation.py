"""The orientation of an image is that which Pillow applies, wherever a file holds it."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from hypercolumns.errors import HypercolumnsError
from hypercolumns.io.orientation import turned_image

XMP = (
    '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    '<rdf:Description xmlns:tiff="http://ns.adobe.com/tiff/1.0/" tiff:Orientation="6"/></rdf:RDF></x:xmpmeta>'
)


def encode(form, **settings):
    file = io.BytesIO()
    Image.fromarray(np.zeros((4, 6, 3), np.uint8)).save(file, format=form, **settings)
    return file.getvalue()


def exif(orientation):
    tags = Image.Exif()
    tags[0x0112] = orientation
    return tags


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def read(tmp_path, content):
    path = tmp_path / "image"
    path.write_bytes(content)
    return turned_image(path)


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_read(tmp_path, form, orientation):
    found = read(tmp_path, encode(form, exif=exif(orientation)))
    assert found == (None if orientation == 1 else ((4, 6), orientation))
    if found:
        assert found.upright_size == ((6, 4) if orientation > 4 else (4, 6))


def test_plain_images_are_upright(tmp_path):
    assert [read(tmp_path, encode(form)) for form in ("JPEG", "PNG", "WEBP", "BMP", "TIFF")] == [None] * 5
    assert read(tmp_path, encode("TIFF", tiffinfo={0x0112: 8})) == ((4, 6), 8)


def test_exif_after_the_pixels_of_a_png(tmp_path):
    plain, end = encode("PNG"), chunk(b"IEND", b"")
    for data in (
        chunk(b"eXIf", exif(6).tobytes().removeprefix(b"Exif\0\0")),
        chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + XMP.encode()),
    ):
        assert read(tmp_path, plain.removesuffix(end) + data + end) == ((4, 6), 6)
    assert read(tmp_path, plain.removesuffix(end) + chunk(b"tEXt", b"Software\0x") + end) is None


def test_long_segments_before_exif_of_a_jpeg(tmp_path):
    plain = encode("JPEG")
    long = b"\xff\xe2" + struct.pack(">H", 60002) + bytes(60000)
    data = exif(6).tobytes()
    segment = b"\xff\xe1" + struct.pack(">H", len(data) + 2) + data
    assert read(tmp_path, plain[:2] + long + segment + plain[2:]) == ((4, 6), 6)


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
def test_damaged_exif_is_ignored(tmp_path):
    assert read(tmp_path, encode("JPEG", exif=b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01")) is None
    with pytest.raises(HypercolumnsError, match="is not an image in a supported format"):
        read(tmp_path, b"no image")
