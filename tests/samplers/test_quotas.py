"""The division of a number of pixels among classes."""

import pytest

from hypercolumns.samplers.quotas import allocate_evenly


@pytest.mark.parametrize(
    ("available", "count", "shares"),
    [
        ([100, 100, 100], 30, [10, 10, 10]),
        ([2, 100, 5], 30, [2, 23, 5]),
        ([2, 0, 5], 30, [2, 0, 5]),
        ([9, 9], 5, [2, 3]),
        ([], 5, []),
    ],
)
def test_shares_are_even_and_within_available(available, count, shares):
    assert allocate_evenly(available, count) == shares
