"""Even slices of an axis."""

import pytest

from hypercolumns.models.slices import even_slices


@pytest.mark.parametrize(
    ("length", "max_length", "edges"),
    [(10, 5, [(0, 5), (5, 10)]), (10, 4, [(0, 3), (3, 6), (6, 10)]), (3, 8, [(0, 3)])],
)
def test_even_slices_by_hand(length, max_length, edges):
    assert [(piece.start, piece.stop) for piece in even_slices(length, max_length)] == edges
