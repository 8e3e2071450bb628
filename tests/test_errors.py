import math

import pytest

from hypercolumns.errors import HypercolumnsError, check_number


@pytest.mark.parametrize(
    ("value", "limits"), [(0, {}), (math.inf, {}), (2.5, {"minimum": 2.5, "below": 3}), (-1, {"minimum": -2})]
)
def test_check_number_accepts_limits(value, limits):
    check_number("x", value, **limits)


@pytest.mark.parametrize(
    ("value", "limits", "message"),
    [
        (-0.1, {}, r"x=-0\.1 must be a number of at least 0$"),
        (math.nan, {}, "x=nan must be a number of at least 0$"),
        (True, {}, "x=True must be a number of at least 0$"),
        ("2", {"minimum": 1}, "x=2 must be a number of at least 1$"),
        (None, {"below": 1}, "x=None must be a number of at least 0 and below 1$"),
        (1, {"below": 1}, "x=1 must be a number of at least 0 and below 1$"),
        (math.inf, {"below": 1e6}, r"x=inf must be a number of at least 0 and below 1e\+06$"),
    ],
)
def test_check_number_rejects_other_values(value, limits, message):
    with pytest.raises(HypercolumnsError, match=message):
        check_number("x", value, **limits)
