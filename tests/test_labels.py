import numpy as np

from hypercolumns.labels import overlay, voc_palette


def test_voc_palette_golden_colours():
    palette = voc_palette(256)
    assert palette[:4] == ((0, 0, 0), (128, 0, 0), (0, 128, 0), (128, 128, 0))
    assert palette[20] == (0, 64, 128)
    assert palette[255] == (224, 224, 192)


def test_overlay_blends_by_opacity():
    image = np.full((1, 1, 3), 100, np.uint8)
    assert overlay(image, np.array([[1]], np.uint8), voc_palette(2), 0.25).tolist() == [[[107, 75, 75]]]
