"""Images with more or fewer channels than three."""

import numpy as np
import pytest
import tifffile
from helpers.image_reading import read
from helpers.png import write_png
from PIL import ExifTags, Image

from hypercolumns.errors import HypercolumnsError
from hypercolumns.io.decoding import ImageDecoding
from hypercolumns.io.images import read_image
from hypercolumns.io.pixel_layout import PixelLayout

H, W = 12, 17


def numbers(dtype, channels):
    return np.random.default_rng(channels).integers(0, np.iinfo(dtype).max, (H, W, channels), dtype, endpoint=True)


@pytest.mark.parametrize("chosen", [[1, 0], [3, 2, 1, 0], [4, 0, 1, 2, 3, 4]])
def test_any_number_of_channels_is_read(tmp_path, chosen):
    values = numbers("uint16", 5)
    tifffile.imwrite(tmp_path / "i.tif", values, photometric="minisblack", planarconfig="contig")
    rules = {"range": [0, 4095], "channels": chosen}
    expected = np.rint(np.clip(values[..., chosen] / 4095, 0, 1) * 255)
    assert (read(tmp_path / "i.tif", (H, W), **rules) == expected).all()
    assert ImageDecoding(**rules).image_channels == len(chosen)


def test_pages_are_channels(tmp_path):
    values = numbers("uint8", 5)
    with tifffile.TiffWriter(tmp_path / "i.tif") as file:
        for page in np.moveaxis(values, -1, 0):
            file.write(page, photometric="minisblack", contiguous=False)
    rules = {"page": "all", "channels": [0, 1, 2, 3, 4]}
    assert (read(tmp_path / "i.tif", (H, W), **rules) == values).all()


def test_one_channel_is_read_as_three():
    assert [ImageDecoding(channels=chosen).image_channels for chosen in (None, [4], [0, 1, 2])] == [3, 3, 3]


@pytest.mark.parametrize(
    ("prefix", "count", "end"),
    [
        ("data.", 5, "; a model sees all of them by data.channels=[0,1,2,3,4]"),
        ("data.", 17, "or one by data.channels=[0]"),
        ("", 5, "or one by channels=[0]"),
    ],
)
def test_message_offers_all_channels(prefix, count, end):
    with pytest.raises(HypercolumnsError, match="which of them are red, green and blue is not known") as caught:
        ImageDecoding(prefix=prefix).check(PixelLayout("a TIFF", count), "i.tif")
    assert str(caught.value).endswith(end)


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
@pytest.mark.parametrize("chosen", [[0, 1, 2, 3], [3, 0], [0, 1, 2, 3, 0]])
def test_channels_of_a_turned_png_are_chosen(tmp_path, dtype, chosen):
    values, limit = numbers(dtype, 4), np.iinfo(dtype)
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6  # shown after a quarter turn clockwise
    rows = [row.astype(values.dtype.newbyteorder(">")).tobytes() for row in values]
    write_png(tmp_path / "i.png", limit.bits, 6, rows, eXIf=exif.tobytes().removeprefix(b"Exif\0\0"))
    expected = np.rint(np.rot90(values, -1)[..., chosen] / limit.max * 255)
    image = read_image(tmp_path / "i.png", None, ImageDecoding(range="dtype", channels=chosen))
    assert (image.permute(1, 2, 0).numpy() == expected).all()
