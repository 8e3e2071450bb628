"""Cutting an axis into pieces."""

import itertools
import math


def even_slices(length: int, most: int) -> list[slice]:
    """Pieces of as equal length as can be, of at most `most`, that together are `length`."""
    count = math.ceil(length / most)
    edges = [length * number // count for number in range(count + 1)]
    return [slice(start, stop) for start, stop in itertools.pairwise(edges)]
