import pytest
import safetensors.torch
import torch

from hypercolumns.errors import HypercolumnsError
from hypercolumns.store import ImageSamples, SampleStore, StoreWriter

COUNTS = [[3, 0, 4], [2]]  # samples of the images of each shard


def make_image(number, count):
    generator = torch.Generator().manual_seed(number)
    return ImageSamples(
        f"image {number}",
        (10 + number, 20),
        torch.randint(0, 10, (count, 2), generator=generator),
        torch.randint(0, 5, (count,), generator=generator),
        torch.randn(count, 6, generator=generator) * 100 + 1000,
    )


@pytest.fixture
def images():
    return [make_image(number, count) for number, count in enumerate(count for shard in COUNTS for count in shard)]


@pytest.fixture
def folder(tmp_path, images):
    writer = StoreWriter(tmp_path / "store", {"seed": 1})
    writer.write("train", 0, images[:3])
    writer.write("train", 1, images[3:])
    writer.write("val", 0, images[:1])
    writer.finish({"train": 2, "val": 1})
    return tmp_path / "store"


def test_everything_comes_back(folder, images):
    store = SampleStore(folder)
    assert store.fingerprint == {"seed": 1}
    split = store.split("train")
    assert (len(split), len(store.split("val"))) == (9, 3)
    for image, found in zip(images, split.images(), strict=True):
        assert (found.id, found.size) == (image.id, image.size)
        assert torch.equal(found.positions.long(), image.positions)
        assert torch.equal(found.labels.long(), image.labels)
        assert torch.equal(found.hypercolumns, image.hypercolumns.half())


def test_rows_are_fetched_in_the_order_asked_for(folder, images):
    split = SampleStore(folder).split("train")
    everything = torch.cat([image.hypercolumns for image in images]).half()
    rows = torch.tensor([8, 0, 5, 5, 7, 2])
    hypercolumns, labels = split.fetch(rows)
    assert hypercolumns.dtype == torch.float16
    assert torch.equal(hypercolumns, everything[rows])
    assert torch.equal(labels, torch.cat([image.labels for image in images])[rows])
    assert torch.equal(split.labels[rows].long(), labels)


def test_statistics_are_those_of_what_is_stored(folder, images):
    mean, std = SampleStore(folder).split("train").statistics()
    everything = torch.cat([image.hypercolumns for image in images]).half().double()
    assert mean.dtype == torch.float64
    assert torch.allclose(mean, everything.mean(0))
    assert torch.allclose(std, everything.std(0, correction=0))


def test_a_shard_is_there_only_with_its_sidecar(folder):
    writer = StoreWriter(folder, {})
    assert writer.has("train", 1)
    (folder / "train-00001.json").unlink()
    assert not writer.has("train", 1)
    assert not list(folder.glob(".*"))  # nothing temporary is left


def test_an_unfinished_store_is_refused(folder):
    (folder / "index.json").unlink()
    with pytest.raises(HypercolumnsError, match=r"is not a finished store .*; make it by stage=extract"):
        SampleStore(folder)


def test_a_damaged_shard_is_named(folder):
    shard = folder / "train-00001.safetensors"
    shard.write_bytes(shard.read_bytes()[:-10])
    with pytest.raises(HypercolumnsError, match=r"train-00001\.safetensors can't be read"):
        SampleStore(folder).split("train")


def test_shards_are_plain_safetensors(folder):
    tensors = safetensors.torch.load_file(folder / "train-00000.safetensors")
    assert tensors["hypercolumns"].dtype == torch.float16
    assert tensors["images"].tolist() == [0, 0, 0, 2, 2, 2, 2]
    assert tensors["sums"].dtype == torch.float64
