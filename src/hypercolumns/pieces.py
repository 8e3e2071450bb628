"""Cutting an axis into pieces, and picking some of many evenly."""

import itertools
import math


def pieces(length: int, most: int) -> list[slice]:
    """Pieces of as equal length as can be, of at most `most`, that together are `length`."""
    count = math.ceil(length / most)
    edges = [length * number // count for number in range(count + 1)]
    return [slice(start, stop) for start, stop in itertools.pairwise(edges)]


def spread(count: int, chosen: int) -> list[int]:
    """So many of the numbers from 0 to count - 1, evenly spread from the first to the last; all if there are fewer."""
    chosen = min(chosen, count)
    return [round(number * (count - 1) / max(chosen - 1, 1)) for number in range(chosen)]
