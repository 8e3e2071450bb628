"""Batch samplers over the rows of a store."""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Sampler

from hypercolumns.data.shuffling import shuffled_rows
from hypercolumns.runtime import randomness


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
    """Batches that draw from at most `images` images each.

    Images with rows are shuffled and cut into groups. Each group's rows are shuffled and batched as in
    `SampleBatchSampler`. Small groups give small batches, even empty ones on some ranks, so epochs may differ by a few
    steps. The memory grows with the number of images, not with that of rows.
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
            for batch in batches:
                yield rows[batch]
