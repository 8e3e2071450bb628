"""A small sample store: with at least three images a shard, two shards of split train and one of split val."""

import torch

from hypercolumns.store import ImageSamples, StoreWriter

SPLITS = {"train": 5, "val": 2}  # images of each split
COUNTS = [3, 0, 4, 2, 1]  # samples of each image


def make_image(number, count=None):
    """Return random samples of image `number`; by default `COUNTS[number]` samples."""
    generator = torch.Generator().manual_seed(number)
    count = COUNTS[number] if count is None else count
    return ImageSamples(
        f"image {number}",
        (10 + number, 20),
        torch.randint(0, 10, (count, 2), generator=generator),
        torch.randint(0, 5, (count,), generator=generator),
        torch.randn(count, 6, generator=generator) * 100 + 1000,
    )


def write(folder, fingerprint, make=make_image, splits=SPLITS):
    """Write a store as stage extract does; `make` returns the samples of an image, given its number."""
    with StoreWriter(folder, fingerprint, splits) as store:
        for split in splits:
            for shard in store.claims(split):
                store.write(shard, [make(number) for number in store.images(shard)])
        store.write_index()
