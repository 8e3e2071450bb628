"""The samples that stage extract shows in TensorBoard's projector."""

import csv
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from google.protobuf import text_format
from helpers.small_runs import config
from PIL import Image
from tensorboard.plugins.projector.projector_config_pb2 import ProjectorConfig
from torch.utils.tensorboard import SummaryWriter
from torchvision.transforms import v2

from hypercolumns.data import shapes
from hypercolumns.errors import HypercolumnsError
from hypercolumns.reports import projector
from hypercolumns.samplers.quotas import allocate_evenly
from hypercolumns.stages import run_stage
from hypercolumns.store import SampleStore


def test_thumbnail_centres_the_pixel_in_a_border():
    image = torch.zeros(3, 100, 90, dtype=torch.uint8)
    image[:, 30, 2] = 255  # the surroundings reach beyond the left edge
    shown = projector.thumbnail(image, 30, 2, (255, 0, 0))
    assert shown.shape == (3, 48, 48)
    middle = (shown[1] == shown[1].max()).nonzero()
    assert middle.tolist() == [[24, 24]]
    assert shown[:, 0, 0].tolist() == [1, 0, 0]


def test_thumbnail_copies_only_its_square():
    """The image repeats one pixel, so it needs no memory. Its rows of a thumbnail would take 100 TB."""
    image = torch.full((3, 1, 1), 255, dtype=torch.uint8).expand(3, 60, 1 << 40)
    assert (projector.thumbnail(image, 30, 1 << 39, (0, 0, 0))[:, 3:-3, 3:-3] == 1).all()


@pytest.mark.parametrize("shape", [(4000, 3), (3, 4000)])
def test_resizing_a_strip_makes_no_large_image(shape, monkeypatch):
    """Both orders agree except for rounding. No result of a step has more pixels than the image or 3000."""
    image = torch.randint(0, 256, (3, *shape), generator=torch.Generator().manual_seed(0)).byte()
    whole = v2.functional.resize(image, [30, 40], antialias=True)
    calls, resize = [], v2.functional.resize

    def spy(part, size, **how):
        calls.append(part.shape[1] * size[1])  # torch resizes the rows first
        return resize(part, size, **how)

    monkeypatch.setattr(projector, "MAX_RESIZED", 3000)
    monkeypatch.setattr(v2.functional, "resize", spy)
    resized = projector.resize_image(image, (30, 40))
    assert max(calls) <= 12_000
    assert (resized.int() - whole.int()).abs().max() <= 1


@pytest.fixture
def extract(tmp_path, monkeypatch):
    """A function that runs stage extract with the given overrides and returns the folder of the store."""
    monkeypatch.chdir(tmp_path)

    def run(*overrides):
        settings = ["data=shapes", "data.train_images=40", "data.val_images=2", "cnn=rgb", "stage=extract"]
        run_stage(config("train", *settings, "sampler=uniform", "sampler.n=20", *overrides))
        (folder,) = tmp_path.glob("runs/shapes/rgb/samples/*")
        return folder

    return run


def read(folder):
    place = folder / "embedding" / "00000" / "samples"
    with (place / "metadata.tsv").open() as file:
        metadata = list(csv.DictReader(file, delimiter="\t"))
    vectors = [
        [float(value) for value in line.split("\t")] for line in (place / "tensors.tsv").read_text().splitlines()
    ]
    return metadata, torch.tensor(vectors)


def test_projector_files_match_the_store(extract):
    folder = extract("embedding=60")
    metadata, vectors = read(folder)
    split = SampleStore(folder).split("train")
    assert len(metadata) == len(vectors) == 60
    counts = {name: sum(row["class"] == name for row in metadata) for name in {row["class"] for row in metadata}}
    assert len(counts) == 6
    assert max(counts.values()) - min(counts.values()) <= 1

    mean, std = split.statistics()
    samples = {
        (image.id, *position): row
        for image in split.images()
        for position, row in zip(image.positions.tolist(), image.features.double(), strict=True)
    }
    for row, vector in zip(metadata, vectors, strict=True):
        features = samples[row["image"], int(row["row"]), int(row["column"])]
        assert torch.allclose(vector.double(), (features - mean) / (std + 1e-5), atol=1e-3)

    settings = text_format.Parse((folder / "embedding" / "projector_config.pbtxt").read_text(), ProjectorConfig())
    assert list(settings.embeddings[0].sprite.single_image_dim) == [48, 48]
    with Image.open(folder / "embedding" / settings.embeddings[0].sprite.image_path) as sprite:
        assert sprite.size == (8 * 48, 8 * 48)


def test_embedding_is_seeded_and_written_once(extract):
    folder = extract("embedding=30")
    first = read(folder)[0]
    before = (folder / "embedding").stat().st_mtime_ns
    extract("embedding=30")
    assert (folder / "embedding").stat().st_mtime_ns == before
    extract("embedding=30", "overwrite=true")
    assert read(folder)[0] == first
    extract("embedding=12")
    assert len(read(folder)[0]) == 12
    assert not list(folder.glob(".*"))


def test_concurrent_writers_write_embedding_once(extract, monkeypatch):
    """The second and third writer start while the first one holds the lock."""
    folder = extract("embedding=0")
    store, writes = SampleStore(folder), []
    images = shapes("data", train_images=40, val_images=2)

    def slow_writer(folder):
        writes.append(folder)
        time.sleep(0.3)
        return SummaryWriter(folder)

    monkeypatch.setattr(projector, "SummaryWriter", slow_writer)
    with ThreadPoolExecutor() as pool:
        for future in [pool.submit(projector.write_projector, store, images, 20, 0, None) for _ in range(3)]:
            future.result()
    assert len(writes) == 1
    assert len(read(folder)[0]) == 20
    assert not list(folder.glob(".*"))


def test_full_disk_is_reported_in_one_line(extract, monkeypatch):
    def full_disk(folder):
        Path(folder).mkdir()
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(projector, "SummaryWriter", full_disk)
    message = r"embedding can't be written .* the samples themselves are complete; free some space, or set embedding=0$"
    with pytest.raises(HypercolumnsError, match=message):
        extract("embedding=20")


def test_chosen_rows_are_balanced_and_seeded(extract):
    split = SampleStore(extract("embedding=0")).split("train")
    chosen = [projector.choose_rows(split, 48, seed) for seed in (0, 0, 1)]
    assert torch.equal(chosen[0], chosen[1])
    assert not torch.equal(chosen[0], chosen[2])
    assert len(chosen[0].unique()) == 48
    assert split.fetch(chosen[0])[1].bincount().tolist() == allocate_evenly(split.samples_per_class(6).tolist(), 48)
    everything = projector.choose_rows(split, 10**6, 0)
    assert torch.equal(everything, torch.arange(len(split)))
