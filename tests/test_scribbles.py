"""The script that makes a set of few labels of a full one."""

import importlib.util

import numpy as np
import pytest
from conftest import ROOT

from hypercolumns.labels import IGNORE_INDEX

SPEC = importlib.util.spec_from_file_location("scribbles", ROOT / "benchmarks" / "scribbles.py")
scribbles = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(scribbles)


def filled(mask):
    """Regions by flooding from each pixel that is not in one yet: slow and plain."""
    waiting, found = {tuple(p) for p in np.argwhere(mask != IGNORE_INDEX).tolist()}, []
    while waiting:
        edge, region = [waiting.pop()], set()
        while edge:
            y, x = edge.pop()
            region.add((y, x))
            for other in ((y + 1, x), (y - 1, x), (y, x + 1), (y, x - 1)):
                if other in waiting and mask[other] == mask[y, x]:
                    waiting.remove(other)
                    edge.append(other)
        found.append(frozenset(region))
    return set(found)


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (12, 17)])
@pytest.mark.parametrize("seed", range(4))
def test_regions_are_those_of_a_flood(size, seed):
    mask = np.random.default_rng(seed).choice(np.array([0, 1, IGNORE_INDEX], np.uint8), size)
    found = [frozenset(map(tuple, region.tolist())) for region in scribbles.regions(mask)]
    assert len(found) == len(set(found))
    assert set(found) == filled(mask)


@pytest.mark.parametrize("seed", range(5))
def test_a_scribble_is_a_line_inside_its_region(seed):
    mask = np.full((30, 40), IGNORE_INDEX, np.uint8)
    mask[5:20, 3:35] = 1
    mask[10:14, 10:30] = IGNORE_INDEX
    (region,) = scribbles.regions(mask)
    curve = scribbles.scribble(region, np.random.default_rng(seed))
    assert (mask[tuple(curve.T)] == 1).all()
    assert len(curve) > 20
    assert np.abs(np.diff(curve, axis=0)).max() == 1
    assert (curve == scribbles.scribble(region, np.random.default_rng(seed))).all()
