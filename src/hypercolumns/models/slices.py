"""Lengths along an axis: slices of about equal length, and multiples."""

import itertools
import math


def even_slices(length: int, max_length: int) -> list[slice]:
    """Cut range(length) into as few slices as possible, each at most `max_length` long.

    The lengths of the slices differ by at most 1.
    """
    count = math.ceil(length / max_length)
    edges = [length * number // count for number in range(count + 1)]
    return [slice(start, stop) for start, stop in itertools.pairwise(edges)]


def slices_within(whole: slice, max_length: int) -> list[slice]:
    """Cut a slice with a start and a stop into as few slices as possible, as `even_slices` does."""
    parts = even_slices(whole.stop - whole.start, max_length)
    return [slice(whole.start + part.start, whole.start + part.stop) for part in parts]


def round_up(length: float, multiple: int) -> int:
    """Round a length up to a multiple of a number."""
    return math.ceil(length / multiple) * multiple
