"""Runs of pixels against sets of indices."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hypercolumns.annotation.labels.pixel_runs import changes_of, parse_runs, to_indices, to_runs
from hypercolumns.annotation.serving import regions
from hypercolumns.annotation.serving.regions import region_around
from hypercolumns.errors import ArgumentError, HypercolumnsError

PIXELS = 60


@given(st.lists(st.tuples(st.integers(0, 49), st.integers(1, 10))))
def test_runs_are_the_set_of_their_pixels(pairs):
    runs = parse_runs([number for pair in pairs for number in pair], PIXELS)
    expected = sorted({pixel for start, length in pairs for pixel in range(start, start + length)})
    assert to_indices(runs).tolist() == expected
    assert to_runs(np.array(expected, np.int64)).tolist() == runs.tolist()
    assert all(end < start for end, start in zip(runs.sum(1)[:-1], runs[1:, 0], strict=True))


@pytest.mark.parametrize(
    "wrong",
    [[0], [0, 0], [-1, 2], [55, 6], [0.0, 1], [True, 1], "01", None, {"0": 1}, [[0, 1]], [1 << 70, 1], [1, 1 << 40]],
)
def test_runs_outside_are_refused(wrong):
    with pytest.raises(HypercolumnsError, match="runs must be a list start, length"):
        parse_runs(wrong, PIXELS)


def test_changes_restore_what_they_were_made_of():
    random = np.random.default_rng(0)
    labels = random.integers(0, 4, (6, 10), np.uint8)
    indices = np.flatnonzero(random.random(PIXELS) < 0.4)
    restored = np.full(PIXELS, 9, np.uint8)
    for value, runs in changes_of(labels, indices):
        restored[to_indices(runs)] = value
    assert restored[indices].tolist() == labels.ravel()[indices].tolist()
    assert (np.delete(restored, indices) == 9).all()


@pytest.mark.parametrize("seed", range(5))
def test_region_is_that_of_a_flood_fill(seed):
    labels = np.random.default_rng(seed).integers(0, 2, (12, 17), np.uint8)
    pending, expected = [(5, 7)], set()
    while pending:
        row, column = pending.pop()
        inside = 0 <= row < 12 and 0 <= column < 17
        if inside and (row, column) not in expected and labels[row, column] == labels[5, 7]:
            expected.add((row, column))
            pending += [(row - 1, column), (row + 1, column), (row, column - 1), (row, column + 1)]
    found = to_indices(region_around(labels, 5, 7))
    assert found.tolist() == sorted(row * 17 + column for row, column in expected)


def test_region_with_too_many_runs_is_refused(monkeypatch):
    monkeypatch.setattr(regions, "MAX_RUNS", 3)
    labels = np.eye(4, dtype=np.uint8)
    labels[0] = 0  # the runs of 0 are 1 in the first row, and 2, 2 and 1 in the others
    with pytest.raises(ArgumentError, match=r"too ragged .* \(6 pieces"):
        region_around(labels, 0, 0)
