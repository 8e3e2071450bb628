"""Sharing out a number of pixels among classes."""

from collections.abc import Sequence


def allocate_evenly(available: Sequence[int], count: int) -> list[int]:
    """`count` shared out among parts as evenly as can be, no part getting more than it has.

    What is left over by dividing goes to the parts that have most; of those that have as many, to the later ones.
    """
    shares, left = [0] * len(available), count
    for rank, index in enumerate(sorted(range(len(available)), key=available.__getitem__)):
        shares[index] = min(available[index], left // (len(available) - rank))
        left -= shares[index]
    return shares
