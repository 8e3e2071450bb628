"""The data module of sampled hypercolumns."""

import itertools
import multiprocessing

import pytest
import torch
from torch.utils.data import DataLoader

from hypercolumns.data import SampleDataModule
from hypercolumns.data.batch_samplers import SampleBatchSampler
from hypercolumns.data.modules.sample_data import SampleDataset, keep_batch
from hypercolumns.errors import HypercolumnsError
from hypercolumns.store import ImageSamples, SampleStore, StoreWriter, writer


@pytest.fixture
def store(tmp_path, monkeypatch):
    """Return a store of 3 images with 10 samples each, in two shards. A sample's first channel is its number."""
    monkeypatch.setattr(writer, "MIN_SHARD_IMAGES", 2)
    images = [
        ImageSamples(
            str(number),
            (5, 5),
            torch.zeros(10, 2),
            torch.full((10,), number),
            torch.arange(10 * number, 10 * number + 10)[:, None].expand(-1, 2).float(),
        )
        for number in range(3)
    ]
    with StoreWriter(tmp_path, {}, {"train": 3, "val": 1}) as store:
        for split in ("train", "val"):
            for shard in store.claims(split):
                store.write(shard, [images[number] for number in store.images(shard)])
        store.write_index()
    return SampleStore(tmp_path)


def numbers(loader):
    return [features[:, 0].int().tolist() for features, *_ in loader]


def test_epoch_mixes_all_samples_over_images(store):
    batches = numbers(SampleDataModule(store, batch_size=8).train_dataloader())
    assert [len(batch) for batch in batches] == [7, 8, 7, 8]
    assert sorted(itertools.chain(*batches)) == list(range(30))
    assert all(len({number // 10 for number in batch}) > 1 for batch in batches)


def test_seed_and_epoch_determine_order(store):
    def order(seed, epoch):
        data = SampleDataModule(store, 8, seed=seed)
        data.trainer = type("Trainer", (), {"current_epoch": epoch, "global_rank": 0, "world_size": 1})()
        return numbers(data.train_dataloader())

    assert order(0, 0) == order(0, 0)
    assert order(0, 0) != order(1, 0)
    assert order(0, 0) != order(0, 1)
    assert numbers(SampleDataModule(store, 8).train_dataloader()) == order(0, 0)


@pytest.mark.parametrize("images", [1, 2])
def test_images_per_batch_limits_images(store, images):
    batches = numbers(SampleDataModule(store, batch_size=8, images_per_batch=images).train_dataloader())
    assert sorted(itertools.chain(*batches)) == list(range(30))
    images_in_batch = [len({number // 10 for number in batch}) for batch in batches]
    assert sorted(images_in_batch) == [1] * 6 if images == 1 else [1] * 2 + [2] * 3


def test_images_per_batch_of_zero_is_refused(store):
    with pytest.raises(HypercolumnsError, match="images_per_batch=0 must be a whole number of at least 1"):
        SampleDataModule(store, images_per_batch=0)


def test_ranks_share_an_epoch(store):
    by_rank = []
    for rank in range(3):
        data = SampleDataModule(store, 4)
        data.trainer = type("Trainer", (), {"current_epoch": 2, "global_rank": rank, "world_size": 3})()
        by_rank += [numbers(data.train_dataloader())]
    assert [len(batches) for batches in by_rank] == [8, 8, 8]
    assert sorted(number for batches in by_rank for batch in batches for number in batch) == list(range(30))


@pytest.mark.parametrize("method", ["fork", pytest.param("spawn", marks=pytest.mark.slow)])
def test_workers_give_same_batches(store, method):
    if method not in multiprocessing.get_all_start_methods():
        pytest.skip(f"start method {method} is not available")
    split = store.split("train")
    split.statistics()  # opens the memory maps, which workers must not share
    batches = SampleBatchSampler(30, 8, seed=0)
    without, with_two = (
        numbers(DataLoader(SampleDataset(split), batch_sampler=batches, collate_fn=keep_batch, **settings))
        for settings in ({}, {"num_workers": 2, "multiprocessing_context": method})
    )
    assert without == with_two


def test_labels_match_their_samples(store):
    for features, labels, _ in SampleDataModule(store, 8).train_dataloader():
        assert torch.equal(features[:, 0].long() // 10, labels)


def test_validation_keeps_order_on_disk(store):
    assert numbers(SampleDataModule(store, 4).val_dataloader()) == [[0, 1, 2], [3, 4, 5], [6, 7, 8, 9]]
