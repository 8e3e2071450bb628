"""Batch samplers: each row once per epoch, the same steps on all ranks, and resuming within an epoch."""

import pytest
import torch

from hypercolumns.data.batch_samplers import GroupedBatchSampler, SampleBatchSampler


@pytest.mark.parametrize("world_size", [1, 2, 3, 5])
@pytest.mark.parametrize("rows", [5, 30, 31, 97])
def test_ranks_take_every_row_once(rows, world_size):
    ranks = [list(SampleBatchSampler(rows, 4, 0, 1, rank, world_size)) for rank in range(world_size)]
    taken = torch.cat([batch for batches in ranks for batch in batches])
    assert taken.sort().values.tolist() == list(range(rows))
    sizes = {len(batch) for batches in ranks for batch in batches}
    assert max(sizes) - min(sizes) <= 1
    steps = [torch.cat(parts).sort().values.tolist() for parts in zip(*ranks, strict=True)]
    assert max(map(len, steps)) <= 4
    assert steps == [batch.tolist() for batch in SampleBatchSampler(rows, 4, 0, 1)]


def test_done_batches_are_skipped():
    whole = list(SampleBatchSampler(100, 8, 3, 4))
    rest = SampleBatchSampler(100, 8, 3, 4, done=5)
    assert len(rest) == len(whole)
    assert all(torch.equal(batch, expected) for batch, expected in zip(rest, whole[5:], strict=True))


@pytest.mark.parametrize("done", [0, 1, 2, 5, 9])
def test_grouped_done_batches_are_skipped(done):
    whole = list(GroupedBatchSampler(ROWS, 2, 8, 3, 4))
    rest = GroupedBatchSampler(ROWS, 2, 8, 3, 4, done=done)
    assert len(rest) == len(whole)
    assert [rows.tolist() for rows in rest] == [rows.tolist() for rows in whole[done:]]


def test_rows_ascend_within_batches():
    """Without a seed, the batches together keep the order on disk."""
    assert all(batch.tolist() == sorted(batch.tolist()) for batch in SampleBatchSampler(100, 8, 0))
    assert torch.cat(list(SampleBatchSampler(100, 8))).tolist() == list(range(100))


ROWS = torch.tensor([7, 0, 12, 1, 30, 5, 5, 0, 9])  # rows of each image
IMAGE = torch.repeat_interleave(torch.arange(9), ROWS)  # image of each row


@pytest.mark.parametrize("world_size", [1, 2, 3])
@pytest.mark.parametrize("images", [1, 2, 3, 100])
def test_grouped_ranks_take_every_row_once(images, world_size):
    ranks = [list(GroupedBatchSampler(ROWS, images, 8, 0, 1, rank, world_size)) for rank in range(world_size)]
    assert len({len(batches) for batches in ranks}) == 1
    assert len(ranks[0]) == len(GroupedBatchSampler(ROWS, images, 8, 0, 1, 0, world_size))
    steps = [torch.cat(parts) for parts in zip(*ranks, strict=True)]
    assert torch.cat(steps).sort().values.tolist() == list(range(len(IMAGE)))
    assert all(len(IMAGE[rows].unique()) <= images for rows in steps)
    sizes = [len(batch) for batches in ranks for batch in batches]
    assert max(sizes) <= 8
    assert all(batch.tolist() == sorted(batch.tolist()) for batches in ranks for batch in batches)
    assert all(max(map(len, parts)) - min(map(len, parts)) <= 1 for parts in zip(*ranks, strict=True))


def test_groups_differ_between_epochs():
    """The images that share a batch, and the batches, change with the seed and the epoch."""
    epochs = [
        [tuple(rows.tolist()) for rows in GroupedBatchSampler(ROWS, 2, 8, seed, epoch)]
        for seed, epoch in [(0, 0), (0, 0), (0, 1), (1, 0)]
    ]
    assert epochs[0] == epochs[1]
    assert len({tuple(batches) for batches in epochs}) == 3
    groups = [{tuple(IMAGE[list(rows)].unique().tolist()) for rows in batches} for batches in epochs]
    assert groups[0] != groups[2]


def test_all_pairs_of_images_are_equally_likely():
    """An epoch makes two of the 10 pairs of 5 images. Each pair occurs in a fifth of the epochs (5 sigma)."""
    together = torch.zeros(5, 5)
    for epoch in range(1000):
        for group in GroupedBatchSampler(torch.ones(5, dtype=torch.int64), 2, 2, 0, epoch).groups:
            if len(group) == 2:
                together[group.min(), group.max()] += 1
    pairs = together[torch.ones(5, 5).triu(1).bool()]
    assert ((pairs - 200).abs() < 5 * (1000 * 0.2 * 0.8) ** 0.5).all()
