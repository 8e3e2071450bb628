"""Compute the shuffled order of a split's rows in an epoch, a slice of the order at a time.

A row is one sample of a split of a store; the rows of a split are numbered from 0. The seed and the number of the epoch
determine the shuffled order.

Neighbouring rows come from the same image, so a mini-batch must take its rows from all over the split. But the split
can be larger than memory. Even the list of its row numbers can be larger than memory. Reading single rows from all over
the disk would be slow, so each read should yield several rows that are needed soon.

The shuffling therefore has two levels. First, the split is cut into runs of RUN_LENGTH neighbouring rows, and the runs
are put into a random order. Then the sequence of runs is cut into buffers of up to SHUFFLE_BUFFER rows, and the rows of
each buffer are shuffled. A split of up to SHUFFLE_BUFFER rows is a single buffer. All orders of its rows are equally
likely.
"""

import itertools
import math
from functools import lru_cache

import torch
from torch import Tensor

from hypercolumns.runtime import randomness

RUN_LENGTH = 64  # rows in a run; with 1504 channels they take 192 kB, about as much as a disk reads at once
SHUFFLE_BUFFER = 1 << 20  # the largest number of rows in a buffer
FEISTEL_ROUNDS = 6  # rounds of the Feistel network in `feistel_permutation`


def shuffled_rows(rows: int, seed: int, epoch: int, start: int, stop: int) -> Tensor:
    """Compute a slice of the shuffled order of a split's rows.

    Args:
        rows: the number of rows of the split.
        seed: the seed of the shuffled order.
        epoch: the number of the epoch, from 0. Each epoch has a different order.
        start: the position in the shuffled order at which the slice starts, from 0.
        stop: the position in the shuffled order just after the end of the slice.

    Returns:
        The row numbers at the positions of the slice, (stop - start,) int64.
    """
    edges = _edges(rows)
    parts = [
        buffer_rows(rows, seed, epoch, number)[max(start - first, 0) : stop - first]
        for number, (first, last) in enumerate(itertools.pairwise(edges))
        if first < stop and start < last
    ]
    return torch.cat(parts) if parts else torch.empty(0, dtype=torch.int64)


def feistel_permutation(numbers: Tensor, count: int, seed: int) -> Tensor:
    """Map numbers by a random permutation of the integers 0 to `count` - 1, without a table of the permutation.

    The permutation is a Feistel network on the smallest even number of bits that can represent these integers. The
    network maps a number again and again until the result is below `count` (Black and Rogaway, Ciphers with Arbitrary
    Finite Domains, CT-RSA 2002).

    Args:
        numbers: (N,) int64, the numbers to map, each from 0 to `count` - 1.
        count: the number of integers that the permutation permutes.
        seed: the seed of the permutation.

    Returns:
        (N,) int64, the integer that each number is mapped to, in the order of `numbers`.
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
    """Return the positions in the shuffled order where the buffers start, followed by `rows`, the end of the last one.

    The rows that are left after the last full run of RUN_LENGTH neighbouring rows belong to the last buffer.
    """
    buffers = math.ceil(rows / SHUFFLE_BUFFER)
    return [rows // RUN_LENGTH * number // buffers * RUN_LENGTH for number in range(buffers)] + [rows]


@lru_cache(maxsize=2)
def buffer_rows(rows: int, seed: int, epoch: int, number: int) -> Tensor:
    """Compute the row numbers of one buffer, in shuffled order. The two latest results are cached.

    Args:
        rows: the number of rows of the split.
        seed: the seed of the shuffled order.
        epoch: the number of the epoch, from 0.
        number: the number of the buffer, from 0.

    Returns:
        (N,) int64, the numbers of the N rows in the buffer, in shuffled order.
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
    """Hash numbers (N,) int64 with a key, by xor-shifts and the two factors of SplitMix64's finaliser.

    The factors are from Steele et al., Fast Splittable Pseudorandom Number Generators (OOPSLA 2014). Products that
    overflow int64 wrap around.
    """
    mixed = numbers ^ key
    for factor in (-4658895280553007687, -7723592293110705685):  # 0xBF58476D1CE4E5B9, 0x94D049BB133111EB as int64
        mixed = (mixed ^ (mixed >> 30)) * factor
    return mixed ^ (mixed >> 32)
