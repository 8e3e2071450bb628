"""Batch samplers over the rows of a store. A row is one sample."""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Sampler

from hypercolumns.data.shuffling import shuffled_rows
from hypercolumns.runtime import randomness


class SampleBatchSampler(Sampler[Any]):  # Any, because DataLoader's type hints do not allow tensors as batches
    """Batch sampler that yields this rank's part of each mini-batch of rows, shuffled or in the order on disk.

    Together the ranks take every row once per epoch, in the same number of steps as a single process. The ranks' parts
    of a mini-batch differ in size by at most one row. The shuffled order decides which rows share a mini-batch. Within
    a part the row numbers ascend, because the disk reads ascending rows faster.

    Args:
        rows: the number of rows of the store.
        batch_size: the largest number of rows in a mini-batch, over all ranks together.
        seed: the seed of the shuffled order; None takes the rows in the order on disk.
        epoch: the number of the epoch. Each epoch has a different shuffled order.
        rank: the rank of this process.
        world_size: the number of ranks.
        done: the number of batches to skip at the start, because they were taken before an interruption.
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
        self.rows, self.seed, self.epoch, self.done = rows, seed, epoch, done
        self.rank, self.world_size = rank, world_size
        self.steps = math.ceil(rows / batch_size)

    def __len__(self) -> int:
        """Return the number of batches of the whole epoch, including the skipped batches."""
        return self.steps

    def __iter__(self) -> Iterator[Any]:
        """Yield the ascending row numbers of this rank's part of each mini-batch, (N,) int64."""
        pieces = self.steps * self.world_size
        for step in range(self.done, self.steps):
            piece = step * self.world_size + self.rank
            start, stop = self.rows * piece // pieces, self.rows * (piece + 1) // pieces
            if self.seed is None:
                yield torch.arange(start, stop)
            else:
                rows = shuffled_rows(self.rows, self.seed, self.epoch, start, stop)
                yield torch.from_numpy(np.sort(rows.numpy()))  # NumPy sorts several times faster than torch


class GroupedBatchSampler(Sampler[Any]):
    """Batch sampler whose mini-batches take rows from at most `images` images each.

    The images that have rows are shuffled and divided into sets of up to `images` images. The rows of each set are
    shuffled and batched as in `SampleBatchSampler`. A set with few rows gives small batches, which may be empty on some
    ranks. The number of steps may differ by a few from epoch to epoch. The memory grows with the number of images, not
    with the number of rows.

    Args:
        rows: (I,) int64, the number of rows of each image, in the order of the store.
        images: the largest number of images in a mini-batch.
        batch_size: the largest number of rows in a mini-batch, over all ranks together.
        seed: the seed of the order of the images, and of the order of the rows in each set.
        epoch: the number of the epoch. Each epoch has a different shuffled order.
        rank: the rank of this process.
        world_size: the number of ranks.
        done: the number of batches to skip at the start, because they were taken before an interruption.
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
        """Return the number of batches of the whole epoch, including the skipped batches."""
        return sum(map(len, self.batches))

    def __iter__(self) -> Iterator[Any]:
        """Yield the ascending row numbers of this rank's part of each mini-batch, (N,) int64."""
        for group, batches in zip(self.groups, self.batches, strict=True):
            images = group.sort().values
            edges = zip(self.starts[images].tolist(), self.stops[images].tolist(), strict=True)
            rows = torch.cat([torch.arange(start, stop) for start, stop in edges])
            for batch in batches:
                yield rows[batch]
