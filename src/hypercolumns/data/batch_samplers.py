"""The order in which an epoch takes the rows of a store: a function of (seed, epoch), worked out piece by piece.

Neighbouring rows come from the same image, so a mini-batch must take its rows from all over. But a store may be larger
than memory: then what is read from the disk for one row should serve its neighbours too, and no list of all rows should
be held. So runs of neighbouring rows are put in a random order, and then the rows within windows of 16,384 such runs. A
store of up to WINDOW rows is a single window: all its orders are as likely.
"""

import itertools
import math
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Sampler

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


class SampleBatchSampler(Sampler[Any]):  # of Tensor, which DataLoader's types don't foresee
    """The mini-batches of an epoch, or what one of several processes takes of each, as row numbers in ascending order.

    Together the processes take every row exactly once, in the steps that a single one would take; no two of their parts
    differ by more than one row. A part ascends for the sake of the disk: which rows it has is what the order is for.
    """

    def __init__(
        self,
        rows: int,
        batch_size: int,
        seed: int | None = None,
        epoch: int = 0,
        rank: int = 0,
        world_size: int = 1,
        done: int = 0,
    ) -> None:
        """Say which.

        Args:
            rows: of the store.
            batch_size: the most rows of a batch, of all processes together.
            seed: of the order; None for the order on disk.
            epoch: its number; each has an order of its own.
            rank: of this process.
            world_size: how many processes there are.
            done: batches at the start that are left out, for they were taken before an interruption.
        """
        self.rows, self.seed, self.epoch, self.done = rows, seed, epoch, done
        self.rank, self.world_size = rank, world_size
        self.steps = math.ceil(rows / batch_size)

    def __len__(self) -> int:
        """The number of batches of the whole epoch."""
        return self.steps

    def __iter__(self) -> Iterator[Any]:
        """The batches, (N,) int64."""
        pieces = self.steps * self.world_size
        for step in range(self.done, self.steps):
            piece = step * self.world_size + self.rank
            start, stop = self.rows * piece // pieces, self.rows * (piece + 1) // pieces
            if self.seed is None:
                yield torch.arange(start, stop)
            else:
                rows = shuffled_rows(self.rows, self.seed, self.epoch, start, stop)
                yield torch.from_numpy(np.sort(rows.numpy()))  # several times faster than torch's sort


class GroupedBatchSampler(Sampler[Any]):
    """`SampleBatchSampler` each of which has its rows from at most so many images.

    The images with rows are put in a random order and cut into groups; the rows of a group are then mixed, and shared
    out, as `SampleBatchSampler` does those of a store. Where a group has few rows its batches are small, even empty if it has less
    than there are processes; and as the groups differ, one epoch may take a few steps more than another. The memory
    grows with the number of images, not with that of rows.
    """

    def __init__(
        self,
        rows: Tensor,
        images: int,
        batch_size: int,
        seed: int,
        epoch: int = 0,
        rank: int = 0,
        world_size: int = 1,
        done: int = 0,
    ) -> None:
        """Say which.

        Args:
            rows: (I,) int64 of each image, in the order of the store.
            images: the most of a batch.
            batch_size: the most rows of a batch, of all processes together.
            seed: of the order of images, and of the rows in a group.
            epoch: its number; each has an order of its own.
            rank: of this process.
            world_size: how many processes there are.
            done: batches at the start that are left out.
        """
        order = torch.randperm(len(rows), generator=randomness.generator(seed, "images", epoch))
        self.groups = order[rows[order] > 0].split(images)
        self.stops = rows.cumsum(0)
        self.starts = self.stops - rows
        self.batches = []
        for number, group in enumerate(self.groups):
            seed_of_group = randomness.derive_seed(seed, "group", number)
            batches = SampleBatchSampler(int(rows[group].sum()), batch_size, seed_of_group, epoch, rank, world_size)
            batches.done = min(done, len(batches))
            done -= batches.done
            self.batches.append(batches)

    def __len__(self) -> int:
        """The number of batches of the whole epoch."""
        return sum(map(len, self.batches))

    def __iter__(self) -> Iterator[Any]:
        """The batches, (N,) int64, each in ascending order."""
        for group, batches in zip(self.groups, self.batches, strict=True):
            images = group.sort().values
            edges = zip(self.starts[images].tolist(), self.stops[images].tolist(), strict=True)
            rows = torch.cat([torch.arange(start, stop) for start, stop in edges])
            for places in batches:
                yield rows[places]


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
    """The places at which windows start, and the end: windows of equal size in runs; the last one has the odd rows."""
    windows = math.ceil(rows / SHUFFLE_BUFFER)
    return [rows // RUN_LENGTH * number // windows * RUN_LENGTH for number in range(windows)] + [rows]


@lru_cache(maxsize=2)
def _buffer(rows: int, seed: int, epoch: int, number: int) -> Tensor:
    """The rows of one window, in order."""
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
