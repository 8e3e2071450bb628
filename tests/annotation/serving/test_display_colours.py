"""The colours of classes in the page differ from each other and from those of a photo."""

import numpy as np
import pytest

from hypercolumns.annotation.serving.display_colours import MIN_DISTANCE, display_colours, oklab
from hypercolumns.labels import voc_palette

CAMVID = [(128, 128, 128), (128, 0, 0), (192, 192, 128), (128, 64, 128), (60, 40, 222), (128, 128, 0), (64, 64, 128)]


def test_oklab_matches_published_values():
    """The table of the article that describes OKLab gives white, and CSS Color 4 gives red."""
    expected = [[0, 0, 0], [1, 0, 0], [0.628, 0.225, 0.126]]
    assert np.allclose(oklab([(0, 0, 0), (255, 255, 255), (255, 0, 0)]), expected, atol=1e-3)


@pytest.mark.parametrize(
    "palette",
    [
        voc_palette(21),
        CAMVID,
        [(0, 0, 0)] * 5,
        [(200, 30, 30), (200, 30, 30), (203, 30, 30), (255, 255, 255)],
        [(value, value, value) for value in range(0, 250, 10)],
    ],
    ids=["voc", "camvid", "equal", "near", "greys"],
)
def test_classes_are_told_apart(palette):
    places = oklab(display_colours(palette))
    distances = np.linalg.norm(places[:, None] - places[None], axis=2) + np.eye(len(palette))
    assert distances.min() >= MIN_DISTANCE
    assert np.hypot(places[:, 1], places[:, 2]).min() >= 0.06, "no grey"
    assert places[:, 0].min() >= 0.25, "no black"


def test_clear_colours_are_kept():
    assert display_colours(CAMVID)[1:] == tuple(CAMVID[1:])
    assert display_colours([(200, 30, 30), (203, 30, 30)])[0] == (200, 30, 30)
    assert display_colours(()) == ()


def test_all_labels_have_a_colour_of_their_own():
    assert len({*display_colours(voc_palette(255))}) == 255
