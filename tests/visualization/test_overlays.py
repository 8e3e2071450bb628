"""Overlays and legends: which colours are drawn, and how large they are."""

import numpy as np
import pytest
from PIL import Image

from hypercolumns.labels import voc_palette
from hypercolumns.visualization.overlays import GAP, LINE, MIN_WIDTH, legend, overlay_with_legend

PALETTE = voc_palette(4)


def colours(picture):
    return {tuple(colour) for colour in np.asarray(picture).reshape(-1, 3).tolist()}


def test_legend_names_classes_that_occur():
    labels = np.array([[0, 2], [2, 255]], np.uint8)
    image = np.zeros((2, 2, 3), np.uint8)
    picture = overlay_with_legend(image, labels, ["a", "b", "c", "d"], PALETTE)
    assert picture.width == MIN_WIDTH
    assert colours(picture.crop((0, 0, 2, 2))) == {(0, 0, 0), (0, 64, 0), (112, 112, 96)}
    below = colours(picture.crop((0, 2, picture.width, picture.height)))
    assert {PALETTE[0], PALETTE[2]} < below
    assert PALETTE[1] not in below
    assert overlay_with_legend(image, labels, None, PALETTE).size == (2, 2)


def test_legend_grows_with_large_images():
    def height(width, lines):
        image = np.zeros((lines, width, 3), np.uint8)
        return overlay_with_legend(image, image[..., 0], ["a"], PALETTE).height - lines

    assert height(100, 10) == height(700, 10)
    assert height(2880, 360) == 4 * height(700, 10)


@pytest.mark.parametrize("size", [(60, 20_000), (20_000, 60)])
def test_legend_of_strip_keeps_its_font(size):
    """The font would be 28 times larger by the longer side."""
    labels = np.zeros(size, np.uint8)
    picture = overlay_with_legend(np.zeros((*size, 3), np.uint8), labels, ["a"], PALETTE)
    assert picture.size == (max(size[1], MIN_WIDTH), size[0] + LINE + GAP)


def test_strip_is_shrunk_before_its_legend():
    labels = np.zeros((60, 2000), np.uint8)
    picture = overlay_with_legend(np.zeros((60, 2000, 3), np.uint8), labels, ["a"], PALETTE, max_side=1000)
    assert picture.size == (1000, 30 + LINE + GAP)


def test_narrow_legend_takes_more_lines():
    entries = [(f"class {number}", PALETTE[1]) for number in range(20)]
    assert legend(entries, 2000).height < legend(entries, 300).height
    assert isinstance(legend([], 100), Image.Image)


def test_line_break_in_name_is_escaped():
    plain, broken = (np.asarray(legend([(name, PALETTE[1])], 100)) for name in (r"<b>\n", "<b>\n"))
    assert (plain == broken).all()
