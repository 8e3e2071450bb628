"""Which maps are nested in which, on grids whose answer is known."""

import pytest
import torch
from helpers.maps import NESTED, PYRAMID, make_maps

from hypercolumns import Backbone, HypercolumnExtractor
from hypercolumns.models.alignment import is_nested, locate_maps
from hypercolumns.models.engine.levels import find_levels


@pytest.mark.parametrize(
    ("coarse", "fine", "expected"),
    [
        ([5, 9], [3, 5, 7, 9, 11], True),
        ([5, 13], [3, 5, 7, 9, 11], False),  # beyond the last cell of the finer map
        ([4.5, 8.5], [3, 5, 7, 9, 11], False),
        ([100], [3, 5], True),  # a single cell is constant
    ],
)
def test_nested_centres(coarse, fine, expected):
    assert is_nested(*(torch.tensor(centres, dtype=torch.float64) for centres in (coarse, fine))) == expected


def test_levels_of_a_squeezenet_are_one_chain():
    """Strides 16, 8, 4 and 2: each level is nested in the next one, so a pixel reads four cells in all."""
    taps = ["features.0", "features.3.squeeze", "features.4.squeeze", "features.7.squeeze", "features.12.squeeze"]
    extractor = HypercolumnExtractor(Backbone("squeezenet1_0", taps))
    (window,) = extractor.windows(torch.rand(1, 3, 75, 93))
    levels = find_levels(window.maps)
    assert [(level.maps, level.parent) for level in levels] == [([4], 1), ([3], 2), ([1, 2], 3), ([0], None)]


def test_odd_grids_have_no_parent():
    size = (90, 120)
    maps = make_maps(size, pyramid=True, taps=NESTED)
    levels = find_levels(locate_maps((*NESTED, PYRAMID), maps, size, "exact"))
    names = [[(*NESTED, PYRAMID)[number].name for number in level.maps] for level in levels]
    parents = [None if level.parent is None else names[level.parent] for level in levels]
    assert names == [["pyramid"], ["stride 8"], ["odd"], ["stride 4", "stride 4 too"], ["stride 2"]]
    assert parents == [None, ["stride 4", "stride 4 too"], None, ["stride 2"], None]


def test_larger_maps_are_left_out():
    size = (90, 120)
    maps = locate_maps(NESTED, make_maps(size, taps=NESTED), size, "exact")
    assert [level.maps for level in find_levels(maps, max_cells=22 * 30)] == [[4], [3], [1, 2]]
    assert find_levels(maps, max_cells=22 * 30)[-1].parent is None
