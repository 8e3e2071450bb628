import itertools

import pytest
import torch

from hypercolumns.data import SampleData
from hypercolumns.store import ImageSamples, SampleStore, StoreWriter


@pytest.fixture
def store(tmp_path):
    """Of 3 images with 10 samples each; a sample's first channel is its number."""
    writer = StoreWriter(tmp_path, {})
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
    writer.write("train", 0, images[:2])
    writer.write("train", 1, images[2:])
    writer.write("val", 0, images[:1])
    writer.finish({"train": 2, "val": 1})
    return SampleStore(tmp_path)


def numbers(loader):
    return [hypercolumns[:, 0].int().tolist() for hypercolumns, _ in loader]


def test_an_epoch_is_every_sample_once_mixed_over_images(store):
    batches = numbers(SampleData(store, batch_size=8).train_dataloader())
    assert [len(batch) for batch in batches] == [8, 8, 8, 6]
    assert sorted(itertools.chain(*batches)) == list(range(30))
    assert all(len({number // 10 for number in batch}) > 1 for batch in batches)


def test_the_seed_decides_the_order(store):
    orders = [numbers(SampleData(store, 8, seed=seed).train_dataloader()) for seed in (0, 0, 1)]
    assert orders[0] == orders[1] != orders[2]


def test_workers_change_nothing(store):
    alone, helped = (numbers(SampleData(store, 8, num_workers=n).train_dataloader()) for n in (0, 2))
    assert alone == helped


def test_labels_go_with_their_samples(store):
    for hypercolumns, labels in SampleData(store, 8).train_dataloader():
        assert torch.equal(hypercolumns[:, 0].long() // 10, labels)


def test_validation_is_in_order(store):
    assert numbers(SampleData(store, 4).val_dataloader()) == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
