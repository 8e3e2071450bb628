import pytest
import torch

from hypercolumns.data.batch_samplers import GroupedBatchSampler, SampleBatchSampler


@pytest.mark.parametrize("world_size", [1, 2, 3, 5])
@pytest.mark.parametrize("rows", [5, 30, 31, 97])
def test_processes_take_every_row_once_in_as_many_steps(rows, world_size):
    ranks = [list(SampleBatchSampler(rows, 4, 0, 1, rank, world_size)) for rank in range(world_size)]
    taken = torch.cat([batch for batches in ranks for batch in batches])
    assert taken.sort().values.tolist() == list(range(rows))
    sizes = {len(batch) for batches in ranks for batch in batches}
    assert max(sizes) - min(sizes) <= 1
    steps = [torch.cat(parts).sort().values.tolist() for parts in zip(*ranks, strict=True)]
    assert max(map(len, steps)) <= 4
    assert steps == [batch.tolist() for batch in SampleBatchSampler(rows, 4, 0, 1)]


def test_an_epoch_goes_on_where_it_was_left():
    whole = list(SampleBatchSampler(100, 8, 3, 4))
    rest = SampleBatchSampler(100, 8, 3, 4, done=5)
    assert len(rest) == len(whole)
    assert all(torch.equal(one, other) for one, other in zip(rest, whole[5:], strict=True))


@pytest.mark.parametrize("done", [0, 1, 2, 5, 9])
def test_an_epoch_of_few_images_goes_on_where_it_was_left(done):
    whole = list(GroupedBatchSampler(ROWS, 2, 8, 3, 4))
    rest = GroupedBatchSampler(ROWS, 2, 8, 3, 4, done=done)
    assert len(rest) == len(whole)
    assert [rows.tolist() for rows in rest] == [rows.tolist() for rows in whole[done:]]


def test_batches_ascend_and_without_a_seed_are_in_order():
    assert all(batch.tolist() == sorted(batch.tolist()) for batch in SampleBatchSampler(100, 8, 0))
    assert torch.cat(list(SampleBatchSampler(100, 8))).tolist() == list(range(100))


ROWS = torch.tensor([7, 0, 12, 1, 30, 5, 5, 0, 9])  # of each image
IMAGE = torch.repeat_interleave(torch.arange(9), ROWS)  # of each row


@pytest.mark.parametrize("world_size", [1, 2, 3])
@pytest.mark.parametrize("images", [1, 2, 3, 100])
def test_batches_of_few_images_take_every_row_once_in_as_many_steps(images, world_size):
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


def test_which_images_go_together_and_where_their_rows_are_differ_from_epoch_to_epoch():
    epochs = [
        [tuple(rows.tolist()) for rows in GroupedBatchSampler(ROWS, 2, 8, seed, epoch)]
        for seed, epoch in [(0, 0), (0, 0), (0, 1), (1, 0)]
    ]
    assert epochs[0] == epochs[1]
    assert len({tuple(batches) for batches in epochs}) == 3
    groups = [{tuple(IMAGE[list(rows)].unique().tolist()) for rows in batches} for batches in epochs]
    assert groups[0] != groups[2]


def test_any_two_images_are_as_likely_to_be_together():
    """Of 5 images in pairs, 4 are paired off: each of the 10 pairs in a fifth of 1,000 epochs, to 5 deviations."""
    together = torch.zeros(5, 5)
    for epoch in range(1000):
        for group in GroupedBatchSampler(torch.ones(5, dtype=torch.int64), 2, 2, 0, epoch).groups:
            if len(group) == 2:
                together[group.min(), group.max()] += 1
    pairs = together[torch.ones(5, 5).triu(1).bool()]
    assert ((pairs - 200).abs() < 5 * (1000 * 0.2 * 0.8) ** 0.5).all()
