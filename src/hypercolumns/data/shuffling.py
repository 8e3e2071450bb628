"""The order in which an epoch takes the rows of a store: a function of (seed, epoch), worked out piece by piece.

Neighbouring rows come from the same image, so a mini-batch must take its rows from all over. But a store may be larger
than memory: then what is read from the disk for one row should serve its neighbours too, and no list of all rows should
be held. So runs of neighbouring rows are put in a random order, and then the rows within buffers of 16,384 such runs. A
store of up to SHUFFLE_BUFFER rows is a single buffer: all its orders are as likely.
"""

import itertools
import math
from functools import lru_cache

import torch
from torch import Tensor

from hypercolumns.runtime import randomness

RUN_LENGTH = 64  # neighbouring rows: 192 kB where they have 1504 channels, about what a disk reads at once
SHUFFLE_BUFFER = 1 << 20  # rows
FEISTEL_ROUNDS = 6


def shuffled_rows(rows: int, seed: int, epoch: int, start: int, stop: int) -> Tensor:
    """The rows (stop - start,) int64 at the places from `start` to before `stop` of a random order of `rows` rows."""
    edges = _edges(rows)
    parts = [
        _buffer(rows, seed, epoch, number)[max(start - first, 0) : stop - first]
        for number, (first, last) in enumerate(itertools.pairwise(edges))
        if first < stop and start < last
    ]
    return torch.cat(parts) if parts else torch.empty(0, dtype=torch.int64)


def feistel_permutation(numbers: Tensor, count: int, seed: int) -> Tensor:
    """Where a random permutation of the numbers below `count` sends these (N,) int64, without listing it.

    A Feistel network on the least even number of bits that holds them, walked until the result is below `count` again
    (Black and Rogaway, Ciphers with Arbitrary Finite Domains, CT-RSA 2002).
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
    """The places at which buffers start, and the end: buffers of equal size in runs; the last one has the odd rows."""
    buffers = math.ceil(rows / SHUFFLE_BUFFER)
    return [rows // RUN_LENGTH * number // buffers * RUN_LENGTH for number in range(buffers)] + [rows]


@lru_cache(maxsize=2)
def _buffer(rows: int, seed: int, epoch: int, number: int) -> Tensor:
    """The rows of one buffer, in their order."""
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
    """A hash of each number (int64, wrapping), by the finaliser of SplitMix64 (Steele et al., OOPSLA 2014)."""
    mixed = numbers ^ key
    for factor in (-4658895280553007687, -7723592293110705685):  # 0xBF58476D1CE4E5B9, 0x94D049BB133111EB
        mixed = (mixed ^ (mixed >> 30)) * factor
    return mixed ^ (mixed >> 32)
