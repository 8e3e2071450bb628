"""Division of a number of pixels among classes."""

from collections.abc import Sequence


def allocate_evenly(available: Sequence[int], count: int) -> list[int]:
    """Divide a number of pixels among classes as evenly as possible.

    The remainder of the division goes to the classes with the most available pixels. Among classes with equally many
    pixels, it goes to those with the highest indices.

    Args:
        available: the number of available pixels of each class.
        count: the number of pixels to divide.

    Returns:
        The number of pixels for each class, at most the number available. The sum is `count`, or the sum of `available`
        if this is smaller.
    """
    shares, left = [0] * len(available), count
    for rank, index in enumerate(sorted(range(len(available)), key=available.__getitem__)):
        shares[index] = min(available[index], left // (len(available) - rank))
        left -= shares[index]
    return shares
