import csv
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from google.protobuf import text_format
from PIL import Image
from small_runs import config
from tensorboard.plugins.projector.projector_config_pb2 import ProjectorConfig

from hypercolumns.data import shapes
from hypercolumns.errors import HypercolumnsError
from hypercolumns.reports import projector
from hypercolumns.samplers.quotas import allocate_evenly
from hypercolumns.stages import run_stage
from hypercolumns.store import SampleStore


def test_a_thumbnail_has_the_pixel_in_its_middle_and_a_frame():
    image = torch.zeros(3, 100, 90, dtype=torch.uint8)
    image[:, 30, 2] = 255  # near the edge
    shown = projector.thumbnail(image, 30, 2, (255, 0, 0))
    assert shown.shape == (3, 48, 48)
    middle = (shown[1] == shown[1].max()).nonzero()
    assert middle.tolist() == [[24, 24]]
    assert shown[:, 0, 0].tolist() == [1, 0, 0]


@pytest.fixture
def made(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def make(*overrides):
        settings = ["data=shapes", "data.train_images=40", "data.val_images=2", "cnn=rgb", "stage=extract"]
        run_stage(config("train", *settings, "sampler=uniform", "sampler.n=20", *overrides))
        (folder,) = tmp_path.glob("runs/shapes/rgb/samples/*")
        return folder

    return make


def read(folder):
    place = folder / "embedding" / "00000" / "samples"
    with (place / "metadata.tsv").open() as file:
        metadata = list(csv.DictReader(file, delimiter="\t"))
    vectors = [
        [float(value) for value in line.split("\t")] for line in (place / "tensors.tsv").read_text().splitlines()
    ]
    return metadata, torch.tensor(vectors)


def test_what_the_projector_reads(made):
    folder = made("embedding=60")
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


def test_the_seed_decides_and_it_is_written_once(made):
    folder = made("embedding=30")
    first = read(folder)[0]
    before = (folder / "embedding").stat().st_mtime_ns
    made("embedding=30")
    assert (folder / "embedding").stat().st_mtime_ns == before
    made("embedding=30", "overwrite=true")
    assert read(folder)[0] == first
    made("embedding=12")
    assert len(read(folder)[0]) == 12
    assert not list(folder.glob(".*"))


def test_processes_that_end_together_write_it_once(made, monkeypatch):
    """The second one comes while the first one holds the lock."""
    folder = made("embedding=0")
    store, writes = SampleStore(folder), []
    images = shapes("data", train_images=40, val_images=2)
    write = projector._write

    def slowly(temporary, *rest):
        writes.append(temporary)
        time.sleep(0.3)
        write(temporary, *rest)

    monkeypatch.setattr(projector, "_write", slowly)
    with ThreadPoolExecutor() as pool:
        for end in [pool.submit(projector.write_projector, store, images, 20, 0, None) for _ in range(3)]:
            end.result()
    assert len(writes) == 1
    assert len(read(folder)[0]) == 20
    assert not list(folder.glob(".*"))


def test_what_cant_be_written_is_one_line_and_leaves_nothing(made, monkeypatch):
    def full(temporary, *rest):
        temporary.mkdir()
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(projector, "_write", full)
    message = r"embedding can't be written .* the samples are all there, .*: free some space, or set embedding=0$"
    with pytest.raises(HypercolumnsError, match=message):
        made("embedding=20")


def test_rows_are_of_their_class_and_differ_by_seed(made):
    split = SampleStore(made("embedding=0")).split("train")
    chosen = [projector.choose_rows(split, 48, seed) for seed in (0, 0, 1)]
    assert torch.equal(chosen[0], chosen[1])
    assert not torch.equal(chosen[0], chosen[2])
    assert len(chosen[0].unique()) == 48
    assert split.fetch(chosen[0])[1].bincount().tolist() == allocate_evenly(split.samples_per_class(6).tolist(), 48)
    everything = projector.choose_rows(split, 10**6, 0)
    assert torch.equal(everything, torch.arange(len(split)))
