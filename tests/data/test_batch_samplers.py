import itertools

import pytest
import torch

from hypercolumns.data import batch_samplers as module
from hypercolumns.data.batch_samplers import (
    GroupedBatchSampler,
    SampleBatchSampler,
    feistel_permutation,
    shuffled_rows,
)


@pytest.fixture
def small(monkeypatch):
    """Runs of 4 rows in windows of 32."""
    monkeypatch.setattr(module, "RUN_LENGTH", 4)
    monkeypatch.setattr(module, "SHUFFLE_BUFFER", 32)
    module._buffer.cache_clear()
    yield
    module._buffer.cache_clear()


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 63, 64, 65, 257, 1000])
def test_permuted_is_a_permutation(count):
    places = feistel_permutation(torch.arange(count), count, seed=5)
    assert places.sort().values.tolist() == list(range(count))
    parts = [feistel_permutation(torch.tensor([number]), count, seed=5).item() for number in range(count)]
    assert parts == places.tolist()


def test_permutations_are_as_likely():
    """Each of 5 numbers is sent to each of 5 places in a fifth of 1,000 permutations: chi-square of 16 degrees."""
    counts = torch.zeros(5, 5)
    for seed in range(1000):
        counts[torch.arange(5), feistel_permutation(torch.arange(5), 5, seed)] += 1
    assert (counts - 200).square().sum() / 200 < 45  # exceeded once in 7,000 times


@pytest.mark.parametrize("rows", [1, 3, 4, 31, 32, 33, 35, 64, 101, 1000])
def test_an_order_has_every_row_once_however_it_is_read(small, rows):
    whole = shuffled_rows(rows, 1, 2, 0, rows)
    assert whole.sort().values.tolist() == list(range(rows))
    for step in (1, 7, 32, 50):
        parts = [shuffled_rows(rows, 1, 2, start, min(start + step, rows)) for start in range(0, rows, step)]
        assert torch.equal(torch.cat(parts), whole)


def test_a_window_takes_whole_runs_from_all_over(small):
    first = shuffled_rows(1000, 0, 0, 0, 28)  # of 32 windows, each of 7 or 8 of the 250 runs
    runs = (first // 4).unique()
    assert len(runs) == 7
    assert all((first // 4 == run).sum() == 4 for run in runs)
    assert (runs < 125).any()
    assert (runs >= 125).any()
    assert first.tolist() != first.sort().values.tolist()


def test_a_large_store_is_ordered_without_listing_it():
    part = shuffled_rows(10**12, 0, 0, 5 * 10**11, 5 * 10**11 + 4096)
    assert len(part.unique()) == 4096
    assert len((part // 64).unique()) > 3000
    assert part.max() < 10**12


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


def test_seed_and_epoch_decide_the_order():
    orders = {
        tuple(shuffled_rows(50, seed, epoch, 0, 50).tolist()) for seed, epoch in itertools.product(range(3), range(3))
    }
    assert len(orders) == 9


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
