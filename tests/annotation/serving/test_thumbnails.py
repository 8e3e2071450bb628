"""Thumbnails are small, made once, and kept within a bound."""

import io

import numpy as np
import pytest
from helpers.annotation_world import draw
from PIL import Image

from hypercolumns.annotation.labels.label_files import LabelFiles
from hypercolumns.annotation.serving.image_list import ImageList, ImageToLabel
from hypercolumns.annotation.serving.thumbnails import Thumbnails


def opened(content):
    return Image.open(io.BytesIO(content))


def test_each_is_made_once_within_the_bound():
    made = []

    def read(number):
        made.append(number)
        return Image.new("RGB", (300, 200), (number, 0, 0))

    size = len(Thumbnails(read).get(0).result(5))
    thumbnails = Thumbnails(read, max_bytes=2 * size + 50)
    made.clear()
    contents = [thumbnails.get(number).result(5) for number in (0, 1, 0, 1, 0, 2, 0, 1)]
    assert made == [0, 1, 2, 1], "the one that was used longest ago is forgotten"
    assert contents[0] == contents[2]
    assert opened(contents[0]).size == (96, 64)
    thumbnails.stop()


@pytest.mark.parametrize("suffix", ["png", "jpg", "tif"])
@pytest.mark.parametrize("turned", [False, True])
def test_it_looks_like_the_image(tmp_path, suffix, turned):
    """The picture is red on the left, and on top once it is turned."""
    pixels = np.zeros((480, 640, 3), np.uint8)
    pixels[:, :320, 0], pixels[:, 320:, 2] = 200, 200
    exif = Image.Exif()
    exif[0x0112] = 6 if turned else 1  # to be turned by 90 degrees clockwise
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(pixels).save(path, exif=exif)
    files = LabelFiles(tmp_path / "none.png", tmp_path / "none.journal")
    images = ImageList([ImageToLabel("a", path, files)])
    small = Thumbnails(images.small).get(0).result(5)
    expected = images.pixels(0).numpy().transpose(1, 2, 0)
    with opened(small) as picture:
        assert picture.size == ((72, 96) if turned else (96, 72))
        shown = np.asarray(picture.resize((8, 8)), float)
    assert np.abs(shown - np.asarray(Image.fromarray(expected).resize((8, 8)), float)).mean() < 8


def test_server_sends_it(world):
    answer = world.get("api/images/1/thumbnail")
    assert (answer.status, answer.headers["content-type"]) == (200, "image/jpeg")
    with opened(answer.body) as picture:
        assert picture.size == (60, 40)
    assert world.get("api/images/3/thumbnail").status == 409


def test_broken_image_has_none(world):
    draw(world.folder / "images", "c")
    (world.folder / "images" / "c.png").write_bytes(b"")
    answer = world.get("api/images/2/thumbnail")
    assert answer.status == 409
    assert "c.png is empty" in answer.json["error"]
