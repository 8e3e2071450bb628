"""Batch samplers for the rows of one split in a store. A row is one sample; the rows are numbered from 0."""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Sampler

from hypercolumns.data.shuffling import shuffled_rows
from hypercolumns.runtime import randomness


class SampleBatchSampler(Sampler[Any]):  # Any: DataLoader's type hints reject batch samplers that yield tensors
    """Batch sampler that yields the numbers of the rows in this rank's part of each mini-batch.

    Together the ranks take every row once per epoch, in the same number of mini-batches as a single process. The ranks'
    parts of a mini-batch differ in size by at most one row. With a seed, a shuffled order decides which rows share a
    mini-batch. Without a seed, the order on disk decides this. The row numbers in a rank's part always ascend, because
    the disk reads ascending rows faster.

    Args:
        rows: the number of rows of the split.
        batch_size: the largest number of rows in a mini-batch, counted over all ranks together.
        seed: the seed of the shuffled order; None takes the rows in the order on disk.
        epoch: the number of the epoch, from 0. Each epoch has a different shuffled order.
        rank: the rank of this process.
        world_size: the number of ranks.
        done: the number of mini-batches to skip at the start of the epoch. The training took them before an
            interruption.
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
        """Return the number of mini-batches of the whole epoch, including the skipped mini-batches."""
        return self.steps

    def __iter__(self) -> Iterator[Any]:
        """Yield one tensor (N,) int64 per mini-batch: the row numbers of this rank's part, in ascending order."""
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
    """Batch sampler that takes the rows of each mini-batch from at most `images` images.

    The images that have rows are shuffled and divided into sets of up to `images` images. The sets follow one another,
    and the rows of each set are shuffled and divided into mini-batches as in `SampleBatchSampler`. A set with few rows
    gives small mini-batches. If a mini-batch has fewer rows than there are ranks, some ranks get an empty part. The
    number of mini-batches may differ slightly from epoch to epoch, because the sets differ.

    The memory use grows with the number of images and with the number of rows in a set. It does not grow with the
    number of rows in the split.

    Args:
        rows: (I,) int64, the number of rows of each image, in the order of the images in the split.
        images: the largest number of images that the rows of a mini-batch come from.
        batch_size: the largest number of rows in a mini-batch, counted over all ranks together.
        seed: the seed of the order of the images, and of the order of the rows in each set.
        epoch: the number of the epoch, from 0. Each epoch has different shuffled orders.
        rank: the rank of this process.
        world_size: the number of ranks.
        done: the number of mini-batches to skip at the start of the epoch. The training took them before an
            interruption.
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
        """Return the number of mini-batches of the whole epoch, including the skipped mini-batches."""
        return sum(map(len, self.batches))

    def __iter__(self) -> Iterator[Any]:
        """Yield one tensor (N,) int64 per mini-batch: the row numbers of this rank's part, in ascending order."""
        for group, batches in zip(self.groups, self.batches, strict=True):
            images = group.sort().values
            edges = zip(self.starts[images].tolist(), self.stops[images].tolist(), strict=True)
            rows = torch.cat([torch.arange(start, stop) for start, stop in edges])
            for batch in batches:
                yield rows[batch]
