"""Pixels of any depth and number of channels, against the same arithmetic written out in NumPy."""

import struct
from functools import partial

import numpy as np
import pytest
import tifffile
from helpers.image_reading import read as read_of_size
from helpers.image_reading import refused
from helpers.png import write_png
from PIL import Image

from hypercolumns.errors import ArgumentError, HypercolumnsError
from hypercolumns.io.decoding import ImageDecoding
from hypercolumns.io.images import image_size, read_image
from hypercolumns.io.pixel_layout import PixelLayout, array_layout

H, W = 12, 17


read = partial(read_of_size, size=(H, W))


def mapped(values, low, high):
    """Map low to 0 and high to 255, value by value."""
    result = np.zeros(values.shape, np.uint8)
    for place in np.ndindex(values.shape):
        value = float(values[place])
        if value == value:  # NaN stays black
            result[place] = round(min(max((value - low) / (high - low), 0), 1) * 255)
    return result


def numbers(dtype, channels, high=None):
    """Draw pixels (H, W, channels) of a dtype."""
    chance = np.random.default_rng(channels)
    if np.dtype(dtype).kind == "f":
        return chance.normal(0, 3, (H, W, channels)).astype(dtype)
    limits = np.iinfo(dtype)
    return chance.integers(limits.min, limits.max if high is None else high, (H, W, channels), dtype, endpoint=True)


def write(path, values, **settings):
    """Write pixels (H, W, C) as a TIFF."""
    photometric = settings.pop("photometric", "rgb" if values.shape[-1] == 3 else "minisblack")
    values = values[..., 0] if values.shape[-1] == 1 else values
    planar = {} if values.ndim == 2 else {"planarconfig": settings.pop("planarconfig", "contig")}
    if planar.get("planarconfig") == "separate":
        values = np.moveaxis(values, -1, 0)
    tifffile.imwrite(path, values, photometric=photometric, **planar, **settings)
    return path


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(
    "dtype", ["uint8", "uint16", "int16", "uint32", "int32", "int8", "float16", "float32", "float64"]
)
def test_fixed_range_maps_linearly(tmp_path, dtype, channels):
    values = numbers(dtype, channels)
    low, high = np.percentile(values.astype(float), [20, 70]).round(2).tolist()
    path = write(tmp_path / "i.tif", values)
    assert (read(path, range=[low, high]) == mapped(values, low, high)).all()


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "uint32"])
def test_dtype_is_the_full_range(tmp_path, dtype):
    values, limits = numbers(dtype, 3), np.iinfo(dtype)
    assert (read(write(tmp_path / "i.tif", values), range="dtype") == mapped(values, limits.min, limits.max)).all()


def test_fewer_than_8_bits_need_a_range(tmp_path):
    values = numbers("uint8", 1, 63)
    path = write(tmp_path / "i.tif", values, bitspersample=6)
    assert "is a TIFF with one channel of uint6, and which values are black and white is not known" in refused(path)
    assert (read(path, range="dtype") == mapped(values, 0, 63)).all()


def test_dtype_of_12_packed_bits_ends_at_4095(tmp_path):
    values = numbers("uint16", 1, 4095)
    path = write(tmp_path / "i.tif", values, bitspersample=12)
    assert (read(path, range="dtype") == mapped(values, 0, 4095)).all()


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_percentiles_are_of_all_channels(tmp_path, dtype):
    values = numbers(dtype, 4, None if dtype == "float32" else 200)
    values[..., 2] //= 2
    low, high = np.percentile(values[..., [3, 0, 2]], [2, 97.5])
    path = write(tmp_path / "i.tif", values)
    expected = mapped(values[..., [3, 0, 2]], low, high)
    assert (read(path, range=["2%", "97.5%"], channels=[3, 0, 2]) == expected).all()


def test_nan_is_black_and_no_percentile_counts_it(tmp_path):
    values = numbers("float32", 3)
    values[:4] = np.nan
    values[4, 0] = np.inf, -np.inf, 0
    low, high = np.percentile(values[np.isfinite(values)], [5, 95])
    path = write(tmp_path / "i.tif", values)
    image = read(path, range=["5%", "95%"])
    assert (image == mapped(values, low, high)).all()
    assert not image[:4].any()
    assert image[4, 0].tolist()[:2] == [255, 0]


def test_image_without_finite_values_is_refused(tmp_path):
    path = write(tmp_path / "i.tif", np.full((H, W, 1), np.nan, np.float32))
    with pytest.raises(HypercolumnsError, match=r"i\.tif has no value that is a finite number"):
        read_image(path, None, ImageDecoding(range=["2%", "98%"]))
    assert not read(path, range=[0, 1]).any()


def test_no_data_value_of_gdal_is_like_nan(tmp_path):
    values = numbers("int16", 3, 900)
    values = np.abs(values)
    values[:5] = -9999
    path = write(tmp_path / "i.tif", values, extratags=[(42113, "s", 0, "-9999", True)])
    low, high = np.percentile(values[5:], [2, 98])
    assert (read(path, range=["2%", "98%"]) == np.where(values == -9999, 0, mapped(values, low, high))).all()


def test_no_data_value_of_kept_bytes_is_kept(tmp_path):
    values = numbers("uint8", 3)
    tag = (42113, "s", 0, "255", True)
    path = write(tmp_path / "i.tif", values, extratags=[tag])
    assert (read(path) == values).all()
    bands = numbers("uint8", 5)
    assert (read(write(path, bands, extratags=[tag]), channels=[4]) == bands[..., [4, 4, 4]]).all()
    expected = np.where(bands == 255, 0, mapped(bands, 0, 100))
    assert (read(path, channels=[4], range=[0, 100]) == expected[..., [4, 4, 4]]).all()


def test_constant_image_is_black_by_percentiles(tmp_path):
    values = np.full((H, W, 1), 700, np.uint16)
    values[0, 0] = 900
    image = read(write(tmp_path / "i.tif", values), range=["2%", "98%"])
    assert image[0, 0].tolist() == [255] * 3
    assert image.sum() == 255 * 3


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_white_is_zero_is_inverted(tmp_path, dtype):
    values = np.clip(numbers(dtype, 1), 0, None)
    path = write(tmp_path / "i.tif", values, photometric="miniswhite")
    rules = {"range": [0, 9]} if dtype == "float32" else {"range": "dtype"}
    high = 9 if dtype == "float32" else np.iinfo(dtype).max
    assert np.abs(read(path, **rules).astype(int) - (255 - mapped(values, 0, high))).max() <= 1  # halves are rounded


@pytest.mark.parametrize(
    ("channels", "picked"), [([0, 1, 2], [0, 1, 2]), ([3, 0, 1], [3, 0, 1]), ([4], [4, 4, 4]), ([2, 2, 0], [2, 2, 0])]
)
@pytest.mark.parametrize("planar", ["contig", "separate"])
def test_channels_are_picked(tmp_path, channels, picked, planar):
    values = numbers("uint8", 5)
    assert (
        read(write(tmp_path / "i.tif", values, planarconfig=planar), channels=channels) == values[..., picked]
    ).all()


def test_channels_of_other_formats(tmp_path):
    values = numbers("uint8", 4)
    Image.fromarray(values).save(tmp_path / "i.png")
    assert (read(tmp_path / "i.png", channels=[3, 0, 1]) == values[..., [3, 0, 1]]).all()
    Image.fromarray(values[..., :3]).save(tmp_path / "j.png")
    assert (read(tmp_path / "j.png", channels=[1], range=[20, 90]) == mapped(values[..., [1, 1, 1]], 20, 90)).all()
    assert "a PNG with 3 channels of uint8, so it has no channel 3" in refused(tmp_path / "j.png", channels=[3])


@pytest.mark.parametrize("colour", [0, 2, 4, 6])  # PNG's names of grey, RGB, grey with alpha, RGBA
def test_png_of_16_bits(tmp_path, colour):
    channels = {0: 1, 2: 3, 4: 2, 6: 4}[colour]
    values = numbers("uint16", channels, 4095)
    if channels in (2, 4):
        values[..., -1] = np.linspace(0, 65535, H * W).reshape(H, W)
    path = tmp_path / "i.png"
    write_png(path, 16, colour, [row.astype(">u2").tobytes() for row in values])
    grey = [0, 0, 0] if channels < 3 else [0, 1, 2]
    expected = mapped(values[..., grey], 0, 4095)
    if channels in (2, 4):
        opacity = values[..., -1:] / 65535
        expected = np.rint(expected * opacity + 255 * (1 - opacity))
    assert (read(path, range=[0, 4095]) == expected).all()
    assert "set range=dtype (0 to 65535), range=[low,high] or range=[2%,98%]" in refused(path)


@pytest.mark.parametrize("place", ["start", "end"])
def test_turned_png_of_16_bits(tmp_path, place):
    values, exif = numbers("uint16", 3), Image.Exif()
    exif[0x0112] = 6  # a quarter turn
    chunk = {"eXIf": exif.tobytes().removeprefix(b"Exif\0\0")}
    rows = [row.astype(">u2").tobytes() for row in values]
    write_png(tmp_path / "i.png", 16, 2, rows, **(chunk if place == "start" else {"end": chunk}))
    decoding, expected = ImageDecoding(range="dtype"), mapped(values, 0, 65535)
    image = read_image(tmp_path / "i.png", None, decoding).permute(1, 2, 0).numpy()
    assert (image == np.rot90(expected, -1)).all()
    unturned = read_image(tmp_path / "i.png", (H, W), decoding).permute(1, 2, 0).numpy()
    assert (unturned == expected).all()
    assert image_size(tmp_path / "i.png", (W, H), decoding) == (W, H)


def test_transparent_colour_of_16_bits_is_white(tmp_path):
    for colour, clear in ((0, (300,)), (2, (300, 2, 1))):
        row = [*clear, *([4095] * len(clear))]
        write_png(
            tmp_path / "i.png",
            16,
            colour,
            [struct.pack(f">{len(row)}H", *row)],
            tRNS=struct.pack(f">{len(clear)}H", *clear),
        )
        image = read_image(tmp_path / "i.png", None, ImageDecoding(range=[0, 8190]))
        assert image.permute(1, 2, 0).tolist() == [[[255] * 3, [128] * 3]]


@pytest.mark.parametrize(
    ("form", "rules", "message"),
    [
        (("uint16", 1), {}, "is a TIFF with one channel of uint16, and which values are black and white is not known"),
        (("uint16", 3), {}, "set range=dtype (0 to 65535), range=[low,high] or range=[2%,98%]"),
        (("float32", 3), {"prefix": "data."}, "not known; set data.range=[low,high] or data.range=[2%,98%]"),
        (("float32", 1), {"range": "dtype"}, "float32, and range=dtype is for integers only"),
        (
            ("uint8", 5),
            {},
            "is a TIFF with 5 channels of uint8, and which of them are red, green and blue is not known",
        ),
        (("uint8", 5), {"channels": [0, 5, 1]}, "so it has no channel 5 of channels=[0,5,1]"),
        (("uint8", 3), {"range": [0, 4095]}, "whose values from 0 to 255 can't fill range=[0,4095]"),
        (("uint16", 1), {"range": [-1, 3]}, "whose values from 0 to 65535 can't fill range=[-1,3]"),
        (("complex64", 1), {}, "is a TIFF whose pixel format is not supported"),
    ],
)
def test_unclear_images_are_refused(tmp_path, form, rules, message):
    dtype, channels = form
    values = np.zeros((H, W, 1), "complex64") if dtype == "complex64" else numbers(dtype, channels)
    assert message in refused(write(tmp_path / "i.tif", values), **rules)


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        ({"range": [4095, 0]}, r"range=\[4095,0\] must be null, dtype, two numbers"),
        ({"range": [1]}, r"range=\[1\] must be"),
        ({"range": ["2%", 98]}, r"range=\[2%,98\] must be"),
        ({"range": ["98%", "2%"]}, "must be"),
        ({"range": ["2%", "102%"]}, "must be"),
        ({"range": [0, float("nan")]}, "must be"),
        ({"range": "full"}, "range=full must be"),
        ({"channels": []}, r"channels=\[\] must be null, or a list of channels, counted from 0"),
        ({"channels": [0, 1, -1]}, "channels="),
        ({"channels": 1}, "channels=1 must be"),
        ({"page": -1}, "page=-1 must be null, all, or the number of a page"),
        ({"page": True}, "page=True must be"),
    ],
)
def test_invalid_rules_are_refused(rules, message):
    with pytest.raises(ArgumentError, match=message):
        ImageDecoding(**rules)


def test_rules_are_json_and_override_each_other():
    rules = ImageDecoding(range=["2%", "98%"], channels=[0, 1, 2])
    assert rules.settings() == {"range": ["2%", "98%"], "channels": [0, 1, 2]}
    assert ImageDecoding(**rules.settings(), prefix="data.") == rules
    assert ImageDecoding().settings() == {}
    changed = rules.override(ImageDecoding(range=[0, 9], page=1))
    assert changed.settings() == {"range": [0, 9], "channels": [0, 1, 2], "page": 1}


def test_large_array_is_mapped_in_blocks():
    values = np.arange(3000 * 2000, dtype=np.float32).reshape(3000, 2000, 1)
    rgb = ImageDecoding(range=[0, 6e6]).decode(values, array_layout(values), "the image")
    assert (rgb[..., 1] == np.rint(values[..., 0].astype(np.float64) / 6e6 * 255)).all()


def test_premultiplied_transparency_is_undone():
    layout = PixelLayout("an image", 4, "uint16", 16, "premultiplied")
    pixel = np.array([[[1000, 500, 0, 32768], [0, 0, 0, 0]]], np.uint16)
    rgb = ImageDecoding(range=[0, 4000]).decode(pixel, layout, "the image")
    half = 32768 / 65535
    colours = np.array([1000, 500, 0]) / half / 4000 * 255
    assert np.abs(rgb[0, 0] - (colours * half + 255 * (1 - half))).max() <= 1
    assert rgb[0, 1].tolist() == [255] * 3
