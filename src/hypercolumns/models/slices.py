"""Slices of an axis."""

import itertools
import math


def even_slices(length: int, max_length: int) -> list[slice]:
    """Cut range(length) into the fewest slices of at most `max_length`; their lengths differ by at most 1."""
    count = math.ceil(length / max_length)
    edges = [length * number // count for number in range(count + 1)]
    return [slice(start, stop) for start, stop in itertools.pairwise(edges)]
