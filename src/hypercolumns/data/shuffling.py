"""The shuffled order of a store's rows in an epoch, a function of (seed, epoch) that is computed piece by piece.

Neighbouring rows come from the same image, so a mini-batch must take its rows from the whole store. A store may be
larger than memory, though. Then one read from the disk should serve neighbouring rows too, and a list of all rows may
not fit. Shuffling therefore has two levels. First, runs of RUN_LENGTH neighbouring rows are put into a random order.
Then the rows are shuffled within buffers of up to 16,384 runs that follow each other in that order. A store of up to
SHUFFLE_BUFFER rows is a single buffer, in which all orders are equally likely.
"""

import itertools
import math
from functools import lru_cache

import torch
from torch import Tensor

from hypercolumns.runtime import randomness

RUN_LENGTH = 64  # rows; with 1504 channels 192 kB, about what a disk reads at once
SHUFFLE_BUFFER = 1 << 20  # rows
FEISTEL_ROUNDS = 6


def shuffled_rows(rows: int, seed: int, epoch: int, start: int, stop: int) -> Tensor:
    """Compute a slice of the shuffled order of all rows.

    Args:
        rows: the number of rows of the store.
        seed: the seed of the order.
        epoch: the number of the epoch. Each epoch has another order.
        start: the first place of the slice in the shuffled order.
        stop: the place after the last of the slice.

    Returns:
        The row numbers (stop - start,) int64 at these places.
    """
    edges = _edges(rows)
    parts = [
        buffer_rows(rows, seed, epoch, number)[max(start - first, 0) : stop - first]
        for number, (first, last) in enumerate(itertools.pairwise(edges))
        if first < stop and start < last
    ]
    return torch.cat(parts) if parts else torch.empty(0, dtype=torch.int64)


def feistel_permutation(numbers: Tensor, count: int, seed: int) -> Tensor:
    """Apply a random permutation of the integers below `count` without storing it.

    The permutation is a Feistel network on the smallest even number of bits that can represent the integers, applied
    repeatedly until the result is below `count` again (Black and Rogaway, Ciphers with Arbitrary Finite Domains, CT-RSA
    2002).

    Args:
        numbers: (N,) int64 from 0 to `count` - 1.
        count: the number of permuted integers.
        seed: the seed of the permutation.

    Returns:
        (N,) int64, the image of each number.
    """
    half = max(1, math.ceil((count - 1).bit_length() / 2))
    keys = [randomness.derive_seed(seed, "round", number) for number in range(FEISTEL_ROUNDS)]
    result = numbers.clone()
    outside = torch.ones(len(numbers), dtype=torch.bool)
    while outside.any():
        left, right = result[outside] >> half, result[outside] & ((1 << half) - 1)
        for key in keys:
            left, right = right, left ^ (_mix(right, key) & ((1 << half) - 1))
        result[outside] = left << half | right
        outside = result >= count
    return result


def _edges(rows: int) -> list[int]:
    """List the places where the buffers start, and the end. Rows that do not fill a run belong to the last buffer."""
    buffers = math.ceil(rows / SHUFFLE_BUFFER)
    return [rows // RUN_LENGTH * number // buffers * RUN_LENGTH for number in range(buffers)] + [rows]


@lru_cache(maxsize=2)
def buffer_rows(rows: int, seed: int, epoch: int, number: int) -> Tensor:
    """Compute the rows of one buffer in their shuffled order. The last two results are cached.

    Args:
        rows: the number of rows of the store.
        seed: the seed of the order.
        epoch: the number of the epoch.
        number: the number of the buffer.

    Returns:
        The row numbers, int64.
    """
    edges = _edges(rows)
    first, last = edges[number] // RUN_LENGTH, edges[number + 1] // RUN_LENGTH
    runs = feistel_permutation(
        torch.arange(first, last), rows // RUN_LENGTH, randomness.derive_seed(seed, "runs", epoch)
    )
    inside = (runs[:, None] * RUN_LENGTH + torch.arange(RUN_LENGTH)).flatten()
    if number == len(edges) - 2:
        inside = torch.cat([inside, torch.arange(rows // RUN_LENGTH * RUN_LENGTH, rows)])
    return inside[torch.randperm(len(inside), generator=randomness.generator(seed, "order", epoch, number))]


def _mix(numbers: Tensor, key: int) -> Tensor:
    """Hash each number (int64, wrapping) by the finaliser of SplitMix64 (Steele et al., OOPSLA 2014)."""
    mixed = numbers ^ key
    for factor in (-4658895280553007687, -7723592293110705685):  # 0xBF58476D1CE4E5B9, 0x94D049BB133111EB
        mixed = (mixed ^ (mixed >> 30)) * factor
    return mixed ^ (mixed >> 32)
