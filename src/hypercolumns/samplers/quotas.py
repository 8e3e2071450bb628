"""Division of a number of pixels among classes."""

from collections.abc import Sequence


def allocate_evenly(available: Sequence[int], count: int) -> list[int]:
    """Divide `count` among parts as evenly as possible, with at most `available[i]` for part i.

    The remainder of the division goes to the parts with the most available and, among equal parts, to the later ones.
    If the sum of `available` is below `count`, each part gets all that is available for it.
    """
    shares, left = [0] * len(available), count
    for rank, index in enumerate(sorted(range(len(available)), key=available.__getitem__)):
        shares[index] = min(available[index], left // (len(available) - rank))
        left -= shares[index]
    return shares
