"""The shuffled order of a store's rows."""

import itertools

import pytest
import torch

from hypercolumns.data import shuffling
from hypercolumns.data.shuffling import feistel_permutation, shuffled_rows


@pytest.fixture
def small(monkeypatch):
    """Shuffle runs of 4 rows in buffers of 32 rows."""
    monkeypatch.setattr(shuffling, "RUN_LENGTH", 4)
    monkeypatch.setattr(shuffling, "SHUFFLE_BUFFER", 32)
    shuffling.buffer_rows.cache_clear()
    yield
    shuffling.buffer_rows.cache_clear()


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 63, 64, 65, 257, 1000])
def test_feistel_permutation_is_a_permutation(count):
    places = feistel_permutation(torch.arange(count), count, seed=5)
    assert places.sort().values.tolist() == list(range(count))
    parts = [feistel_permutation(torch.tensor([number]), count, seed=5).item() for number in range(count)]
    assert parts == places.tolist()


def test_feistel_permutation_is_uniform():
    """Over 1,000 seeds each of 5 numbers takes each of 5 places equally often (chi-square, 16 degrees of freedom)."""
    counts = torch.zeros(5, 5)
    for seed in range(1000):
        counts[torch.arange(5), feistel_permutation(torch.arange(5), 5, seed)] += 1
    assert (counts - 200).square().sum() / 200 < 45  # exceeded with a probability of 1 in 7,000


@pytest.mark.parametrize("rows", [1, 3, 4, 31, 32, 33, 35, 64, 101, 1000])
def test_every_row_occurs_once_in_any_slicing(small, rows):
    whole = shuffled_rows(rows, 1, 2, 0, rows)
    assert whole.sort().values.tolist() == list(range(rows))
    for step in (1, 7, 32, 50):
        parts = [shuffled_rows(rows, 1, 2, start, min(start + step, rows)) for start in range(0, rows, step)]
        assert torch.equal(torch.cat(parts), whole)


def test_buffer_takes_runs_from_whole_store(small):
    first = shuffled_rows(1000, 0, 0, 0, 28)  # the first of 32 buffers, which share 250 runs: 7 or 8 each
    runs = (first // 4).unique()
    assert len(runs) == 7
    assert all((first // 4 == run).sum() == 4 for run in runs)
    assert (runs < 125).any()
    assert (runs >= 125).any()
    assert first.tolist() != first.sort().values.tolist()


def test_large_store_is_shuffled_without_a_list():
    part = shuffled_rows(10**12, 0, 0, 5 * 10**11, 5 * 10**11 + 4096)
    assert len(part.unique()) == 4096
    assert len((part // 64).unique()) > 3000
    assert part.max() < 10**12


def test_seed_and_epoch_determine_order():
    orders = {
        tuple(shuffled_rows(50, seed, epoch, 0, 50).tolist()) for seed, epoch in itertools.product(range(3), range(3))
    }
    assert len(orders) == 9
