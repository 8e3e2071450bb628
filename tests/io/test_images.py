import errno
import runpy
import struct
import zlib

import numpy as np
import pytest
import torch
from helpers.png import write_png
from PIL import Image, ImageFile, ImageOps

from hypercolumns.errors import HypercolumnsError, UnreadableError
from hypercolumns.io import images
from hypercolumns.io.images import (
    MAX_PIXELS_VARIABLE,
    image_size,
    read_image,
    set_max_pixels,
)
from hypercolumns.io.masks import mask_size, read_mask, read_pair
from hypercolumns.labels import LabelScheme

SCHEME = LabelScheme.of(["a", "b", "c"])


@pytest.mark.parametrize("mode", ["1", "L", "CMYK", "RGBA", "P"])
def test_image_of_any_mode_is_read_as_rgb(tmp_path, mode):
    value = 255 if mode == "1" else 100
    grey = Image.fromarray(np.full((2, 3), value, np.uint8)).convert(mode)
    path = tmp_path / ("i.jpg" if mode == "CMYK" else "i.png")
    grey.save(path)
    image = read_image(path)
    assert (image.shape, image.dtype) == ((3, 2, 3), torch.uint8)
    assert (image.int() - value).abs().max() <= 2


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "RGB"])
def test_transparent_pixels_blend_over_white(tmp_path, mode):
    """Transparent pixels often hold black or noise, which must not show."""
    pixels = Image.new("LA" if mode == "LA" else "RGBA", (3, 1))
    for column, alpha in enumerate((0, 255) if mode in ("P", "RGB") else (0, 255, 51)):
        pixels.putpixel((column, 0), (40, alpha) if mode == "LA" else (40, 80, 120, alpha))
    settings = {}
    if mode == "P":
        pixels = Image.fromarray(np.array([[0, 1, 1]], np.uint8))
        pixels.putpalette([40, 80, 120, 40, 80, 120])
        settings = {"transparency": b"\0\xff"}
    elif mode == "RGB":
        pixels = Image.fromarray(np.array([[[1, 2, 3], [40, 80, 120], [40, 80, 120]]], np.uint8))
        settings = {"transparency": (1, 2, 3)}
    pixels.save(tmp_path / "i.png", **settings)
    image = read_image(tmp_path / "i.png").permute(1, 2, 0)[0].tolist()
    opaque = [40, 40, 40] if mode == "LA" else [40, 80, 120]
    third = opaque if mode in ("P", "RGB") else [round(value * 0.2 + 255 * 0.8) for value in opaque]
    assert image == [[255, 255, 255], opaque, third]


@pytest.mark.parametrize(("kind", "layout"), [(0, "one channel"), (2, "3 channels"), (4, "2 channels")])
def test_16_bit_image_needs_a_range(tmp_path, kind, layout):
    """Its values can have any range: by their higher 8 bits, an image of 12 bits would be nearly black."""
    write_png(tmp_path / "i.png", 16, kind, [struct.pack(">6H", 0, 300, 4000, 40000, 65535, 1)])
    for read in (read_image, image_size):
        with pytest.raises(HypercolumnsError, match=rf"i\.png is a PNG with {layout} of uint16, .* set range=dtype"):
            read(tmp_path / "i.png")


@pytest.mark.parametrize(("mode", "layout"), [("F", "one channel of float32"), ("I", "one channel of int32")])
def test_deep_tiff_needs_a_range(tmp_path, mode, layout):
    Image.new(mode, (2, 3)).save(tmp_path / "i.tif")
    for read in (read_image, image_size):
        with pytest.raises(HypercolumnsError, match=rf"i\.tif is a TIFF with {layout}, .* set range="):
            read(tmp_path / "i.tif")


def test_unsupported_colours_are_refused(tmp_path):
    Image.new("LAB", (2, 3)).save(tmp_path / "i.tif")
    with pytest.raises(HypercolumnsError, match=r"i\.tif is a TIFF whose pixel format is not supported \(3 channels"):
        read_image(tmp_path / "i.tif")


def test_format_comes_from_contents_not_name(tmp_path):
    Image.fromarray(np.arange(18, dtype=np.uint8).reshape(2, 3, 3)).save(tmp_path / "i.jpg", format="PNG")
    assert read_image(tmp_path / "i.jpg").permute(1, 2, 0).flatten().tolist() == list(range(18))


@pytest.mark.parametrize("kind", ["GIF", "PPM", "PDF"])
def test_other_decoders_are_not_used(tmp_path, kind):
    Image.new("RGB", (2, 3)).save(tmp_path / "i.jpg", format=kind)
    with pytest.raises(
        HypercolumnsError, match=r"is .*not an image in a supported format \(JPEG, PNG, BMP, TIFF, WEBP\)"
    ):
        read_image(tmp_path / "i.jpg")


def write_rotated(path, orientation, size=(3, 2)):
    """Write a JPEG with an EXIF orientation, black except for a white left edge."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    pixels = np.zeros((size[1] * 8, size[0] * 8, 3), np.uint8)
    pixels[:, :8] = 255
    Image.fromarray(pixels).save(path, exif=exif)


def test_exif_rotation_is_applied(tmp_path):
    write_rotated(tmp_path / "i.jpg", 6)
    image = read_image(tmp_path / "i.jpg")
    assert image.shape == (3, 24, 16)
    assert image[0, 0].min() > 200 > 50 > image[0, -1].max()  # the left edge is now at the top


@pytest.mark.parametrize(
    ("orientation", "size", "mask", "bright"),  # sizes are (width, height); `size` is the image's before its rotation
    [
        (6, (3, 2), (2, 3), (0, slice(None))),
        (6, (3, 2), (3, 2), (slice(None), 0)),  # the annotation tool ignored EXIF
        (3, (3, 2), (3, 2), (slice(None), -1)),  # both sizes fit, so the rotation is applied
        (6, (3, 3), (3, 3), (0, slice(None))),
        (6, (3, 2), (4, 2), None),
        (1, (3, 2), (2, 3), None),  # the orientation needs no rotation
    ],
)
def test_exif_rotation_follows_mask_size(tmp_path, orientation, size, mask, bright):
    write_rotated(tmp_path / "i.jpg", orientation, size)
    Image.new("L", (mask[0] * 8, mask[1] * 8)).save(tmp_path / "m.png")
    paths = tmp_path / "i.jpg", tmp_path / "m.png"
    if bright is None:
        shown = "16x24" if orientation == 6 else "24x16"
        with pytest.raises(
            HypercolumnsError, match=rf"m\.png is {mask[0] * 8}x{mask[1] * 8}, but its image .* is {shown};"
        ):
            read_pair(*paths, SCHEME)
        assert image_size(paths[0], mask_size(paths[1])) != mask_size(paths[1])
    else:
        assert image_size(paths[0], mask_size(paths[1])) == mask_size(paths[1])
        image, labels = read_pair(*paths, SCHEME)
        assert image.shape[1:] == labels.shape == (mask[1] * 8, mask[0] * 8)
        assert image[0][bright].min() > 200
        assert (image[0] > 128).float().mean() < 0.51


def test_damaged_exif_is_ignored(tmp_path):
    """The orientation is readable, but Pillow can't write the other EXIF entries again, as a rotation must."""
    exif = Image.Exif()
    exif[0x0112], exif[0x011A] = 6, 1.5  # a quarter turn; the resolution
    Image.new("RGB", (6, 4)).save(tmp_path / "i.jpg", exif=exif)
    assert read_image(tmp_path / "i.jpg").shape == (3, 6, 4)
    damaged = (tmp_path / "i.jpg").read_bytes().replace(b"\x01\x1a\x00\x05", b"\x01\x1a\x00\x07")
    (tmp_path / "i.jpg").write_bytes(damaged)
    assert read_image(tmp_path / "i.jpg").shape == (3, 4, 6)


@pytest.fixture
def limit_of_100_pixels(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", Image.MAX_IMAGE_PIXELS)  # restores the limit afterwards
    monkeypatch.setenv(MAX_PIXELS_VARIABLE, "0")
    set_max_pixels(100)


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize(("side", "claimed"), [(11, "11x11 pixels, more"), (15, "225 pixels, more")])
@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_too_many_pixels_raise(tmp_path, limit_of_100_pixels, side, claimed, suffix):
    Image.new("L", (side, side)).save(tmp_path / f"i{suffix}")
    Image.new("L", (10, 10)).save(tmp_path / f"ok{suffix}")
    assert read_image(tmp_path / f"ok{suffix}").shape == (3, 10, 10)
    message = rf"i{suffix} has {claimed} than max_pixels=100: .* set max_pixels higher"
    with pytest.raises(HypercolumnsError, match=message):
        read_image(tmp_path / f"i{suffix}")
    with pytest.raises(
        HypercolumnsError, match=message if suffix == ".png" else "is not an image in a supported format"
    ):
        read_mask(tmp_path / f"i{suffix}", SCHEME)


@pytest.mark.parametrize(("value", "max_pixels"), [("abc", 7), ("", 7), ("100", 100)])
def test_invalid_limit_in_environment_is_ignored(monkeypatch, value, max_pixels):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 7)
    monkeypatch.setenv(MAX_PIXELS_VARIABLE, value)
    runpy.run_path(images.__file__)
    assert max_pixels == Image.MAX_IMAGE_PIXELS


def test_huge_size_in_header_raises_early(tmp_path):
    write_png(tmp_path / "i.png", 8, 0, [b"\0"])
    content = bytearray((tmp_path / "i.png").read_bytes())
    content[16:24] = struct.pack(">II", 20000, 20000)
    content[29:33] = struct.pack(">I", zlib.crc32(content[12:29]))
    (tmp_path / "i.png").write_bytes(content)
    for read in (read_image, lambda path: read_mask(path, SCHEME), image_size, mask_size):
        with pytest.raises(HypercolumnsError, match=r"i\.png has 400000000 pixels, more than max_pixels=89478485"):
            read(tmp_path / "i.png")


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".bmp"])
@pytest.mark.parametrize("share", [0.99, 0.5, 0.1])
def test_truncated_image_raises(tmp_path, suffix, share):
    """Images are decoded completely, because Pillow's `verify` misses some truncations."""
    assert not ImageFile.LOAD_TRUNCATED_IMAGES
    path = tmp_path / f"i{suffix}"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (50, 60, 3), np.uint8)).save(path)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(HypercolumnsError, match=rf"i\{suffix} can't be decoded \(.*\); replace it or leave it out of"):
        read_image(path)


def test_image_that_fails_conversion_raises(tmp_path):
    """The file decodes, but its palette has 10 colours and its transparency 300."""
    write_png(tmp_path / "i.png", 8, 3, [b"\0\1"], PLTE=bytes(30), tRNS=bytes(300))
    with pytest.raises(HypercolumnsError, match=r"i\.png can't be decoded \(.*palette.*\); replace it or leave it out"):
        read_image(tmp_path / "i.png")


@pytest.mark.parametrize("number", [errno.EIO, errno.EMFILE, errno.EACCES])
def test_io_error_raises_unreadable_error(tmp_path, monkeypatch, number):
    def fail(self):
        raise OSError(number, "of the machine")

    Image.new("L", (2, 3)).save(tmp_path / "i.png")
    monkeypatch.setattr(ImageFile.ImageFile, "load", fail)
    for read in (read_image, lambda path: read_mask(path, SCHEME)):
        with pytest.raises(
            UnreadableError,
            match=r"i\.png can't be read \(of the machine\), but may be a valid file: .* run the command again",
        ):
            read(tmp_path / "i.png")


def test_invalid_path_is_not_unreadable_error(tmp_path):
    with pytest.raises(HypercolumnsError, match=r"can't be decoded \(.*File name too long") as caught:
        read_image(tmp_path / ("i" * 300))
    assert not isinstance(caught.value, UnreadableError)


@pytest.mark.parametrize("place", [ImageFile.ImageFile, ImageOps])
def test_memory_error_is_re_raised(tmp_path, monkeypatch, place):
    def fail(*args):
        raise MemoryError

    Image.new("L", (2, 3)).save(tmp_path / "i.png")
    monkeypatch.setattr(place, "load" if place is ImageFile.ImageFile else "exif_transpose", fail)
    with pytest.raises(MemoryError):
        read_image(tmp_path / "i.png")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "does not exist"),
        (b"", "is empty; replace it"),
        (b"<html>", "is not an image"),
        (b"\xef\xbb\xbfsome text\n", "is not an image"),
    ],
)
@pytest.mark.parametrize("name", ["i.jpg", "i.png"])
def test_file_without_image_is_named(tmp_path, name, content, message):
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    for read in (read_image, lambda path: read_mask(path, SCHEME)):
        with pytest.raises(HypercolumnsError, match=rf"{name} {message}"):
            read(path)


def test_folder_is_not_a_file(tmp_path):
    (tmp_path / "i.png").mkdir()
    with pytest.raises(HypercolumnsError, match=r"i\.png is not a file; replace it by an image or leave it out of the"):
        read_image(tmp_path / "i.png")


@pytest.mark.parametrize("name", ["a\nerror: b.png", "\x1b[31m.png", "[red]<b>.png", "a\udcff.png"])
def test_odd_file_name_stays_on_one_line(tmp_path, name):
    message = r"\.png does not exist; add the file or leave it out of the data$"
    with pytest.raises(HypercolumnsError, match=message) as caught:
        read_image(tmp_path / name)
    assert str(caught.value).isprintable()
    assert str(caught.value).encode()
