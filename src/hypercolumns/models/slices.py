"""Cutting an axis into pieces, picking some of many evenly, sharing out."""

import itertools
import math
from collections.abc import Sequence


def even_slices(length: int, most: int) -> list[slice]:
    """Pieces of as equal length as can be, of at most `most`, that together are `length`."""
    count = math.ceil(length / most)
    edges = [length * number // count for number in range(count + 1)]
    return [slice(start, stop) for start, stop in itertools.pairwise(edges)]


def evenly_spaced(count: int, chosen: int) -> list[int]:
    """So many of the numbers from 0 to count - 1, evenly spread from the first to the last; all if there are fewer."""
    chosen = min(chosen, count)
    return [round(number * (count - 1) / max(chosen - 1, 1)) for number in range(chosen)]


def allocate_evenly(available: Sequence[int], count: int) -> list[int]:
    """`count` shared out among parts as evenly as can be, no part getting more than it has.

    What is left over by dividing goes to the parts that have most; of those that have as many, to the later ones.
    """
    shares, left = [0] * len(available), count
    for rank, index in enumerate(sorted(range(len(available)), key=available.__getitem__)):
        shares[index] = min(available[index], left // (len(available) - rank))
        left -= shares[index]
    return shares
