"""Cutting an axis into pieces."""

import itertools
import math


def even_slices(length: int, max_length: int) -> list[slice]:
    """Pieces of as equal length as can be, of at most `max_length`, that together are `length`."""
    count = math.ceil(length / max_length)
    edges = [length * number // count for number in range(count + 1)]
    return [slice(start, stop) for start, stop in itertools.pairwise(edges)]
