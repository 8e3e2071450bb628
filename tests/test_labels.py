import numpy as np
import pytest
import torch

from hypercolumns import labels
from hypercolumns.labels import IGNORE_INDEX, boundary_band, connected_regions, lowest_connected, overlay, voc_palette


def test_voc_palette_golden_colours():
    palette = voc_palette(256)
    assert palette[:4] == ((0, 0, 0), (128, 0, 0), (0, 128, 0), (128, 128, 0))
    assert palette[20] == (0, 64, 128)
    assert palette[255] == (224, 224, 192)


def test_overlay_blends_by_opacity():
    image = np.full((1, 1, 3), 100, np.uint8)
    assert overlay(image, np.array([[1]], np.uint8), voc_palette(2), 0.25).tolist() == [[[107, 75, 75]]]


@pytest.mark.parametrize("size", [(23, 17), (1, 90), (90, 1)])
@pytest.mark.parametrize("width", [1, 3, 40])
def test_boundary_band_in_parts_by_hand(monkeypatch, size, width):
    """The reference looks at all pixels of the square around each pixel."""
    mask = (torch.rand(size, generator=torch.Generator().manual_seed(0)) > 0.97).byte()
    expected = torch.zeros(size, dtype=torch.bool)
    for row in range(size[0]):
        for column in range(size[1]):
            top, left = max(row - width, 0), max(column - width, 0)
            near = mask[top : row + width + 1, left : column + width + 1]
            expected[row, column] = near.min() != near.max()
    monkeypatch.setattr(labels, "BAND_PIXELS", 40)
    assert torch.equal(boundary_band(mask, width), expected)


def flood_fill(mask):
    """Find the connected regions by flood fill: slow, but obviously right."""
    waiting, regions = {tuple(p) for p in np.argwhere(mask != IGNORE_INDEX).tolist()}, []
    while waiting:
        edge, region = [waiting.pop()], set()
        while edge:
            y, x = edge.pop()
            region.add((y, x))
            for other in ((y + 1, x), (y - 1, x), (y, x + 1), (y, x - 1)):
                if other in waiting and mask[other] == mask[y, x]:
                    waiting.remove(other)
                    edge.append(other)
        regions.append(frozenset(region))
    return set(regions)


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (12, 17)])
@pytest.mark.parametrize("seed", range(4))
def test_regions_equal_flood_fill(size, seed):
    mask = np.random.default_rng(seed).choice(np.array([0, 1, IGNORE_INDEX], np.uint8), size)
    regions = [frozenset(map(tuple, region.tolist())) for region in connected_regions(mask)]
    assert len(regions) == len(set(regions))
    assert set(regions) == flood_fill(mask)


def test_lowest_connected_by_way_of_others():
    """3 joins 1 by way of 5, 0 joins 4, and 2 is alone."""
    assert lowest_connected(6, np.array([5, 3, 4]), np.array([1, 5, 0])).tolist() == [0, 1, 2, 1, 0, 1]
