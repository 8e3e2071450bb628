"""Division of an axis into slices of about equal length."""

import itertools
import math


def even_slices(length: int, max_length: int) -> list[slice]:
    """Cut range(length) into as few slices as possible, each at most `max_length` long.

    The lengths of the slices differ by at most 1.
    """
    count = math.ceil(length / max_length)
    edges = [length * number // count for number in range(count + 1)]
    return [slice(start, stop) for start, stop in itertools.pairwise(edges)]
