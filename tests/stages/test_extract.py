"""Stages extract and verify on a tiny data set; the features are the colours of the pixels."""

import re
import time

import numpy as np
import pytest
import torch
from helpers.small_runs import RGB, TINY, config, only, run
from PIL import Image

from hypercolumns import HypercolumnsError, SegmentationPredictor, Segmenter
from hypercolumns.cli.messages import error_line
from hypercolumns.data import Augmentation, shapes
from hypercolumns.data.index import read_example
from hypercolumns.io.masks import read_mask
from hypercolumns.models.classifiers import MLPClassifier
from hypercolumns.models.extractor import HypercolumnExtractor
from hypercolumns.runtime import randomness
from hypercolumns.settings import compose
from hypercolumns.settings.data import image_index
from hypercolumns.settings.fingerprint import shared_settings
from hypercolumns.settings.model import backbone
from hypercolumns.settings.stage_inputs import find_store
from hypercolumns.stages import run_stage
from hypercolumns.stages.extract import POLL_SECONDS
from hypercolumns.store import SampleStore, StoreWriter

pytestmark = pytest.mark.usefixtures("place")


def contents(folder):
    files = (path for path in sorted(folder.iterdir()) if path.is_file())
    return {path.name: path.read_bytes() for path in files if path.name not in ("config.yaml", "environment.json")}


def test_samples_are_pixels_at_their_positions(place):
    run("extract", "sampler.n=4")
    store = SampleStore(only(place, "runs/shapes/rgb/samples/*"))
    images = shapes("data", train_images=40, val_images=3)
    for split in ("train", "val"):
        stored = list(store.split(split).images())
        assert [image.id for image in stored] == [pair.id for pair in images.splits[split]]
        for image, pair in zip(stored, images.splits[split], strict=True):
            mask = read_mask(pair.mask, images.scheme)
            assert image.size == tuple(mask.shape)
            rows, columns = image.positions.T.long()
            assert torch.equal(image.labels, mask[rows, columns])
            with Image.open(pair.image) as picture:
                red = torch.from_numpy(np.array(picture))[rows, columns, 0] / 255
            assert torch.allclose(image.features[:, 0].float(), (red - 0.485) / 0.229, atol=2e-3)


def test_augmentations_change_only_colours(place):
    plain = ["data.train_images=2", "data.val_images=1", "sampler.n=4"]
    run("extract", *plain, "samples=plain")
    run(
        "extract",
        *plain,
        "extract.augmentations=2",
        "extract.grayscale=0",
        "extract.gaussian_blur=0",
        "samples=views",
    )
    unchanged, store = (SampleStore(place / name) for name in ("plain", "views"))
    assert torch.equal(*(each.split("val").fetch(torch.arange(4))[0] for each in (unchanged, store)))
    images = shapes("data", train_images=2, val_images=1)
    change = Augmentation(color_jitter=0.5)
    for stored, pair in zip(store.split("train").images(), images.splits["train"], strict=True):
        image, mask = read_example(pair, images.scheme)
        half = len(stored.positions) // 2
        assert not torch.equal(stored.positions[:half], stored.positions[half:])
        for number, part in enumerate((slice(None, half), slice(half, None))):
            rows, columns = stored.positions[part].T.long()
            assert torch.equal(stored.labels[part], mask[rows, columns])
            view, _, _ = change(image, mask, randomness.derive_seed(0, number, pair.id))
            expected = (view[0, rows, columns] / 255 - 0.485) / 0.229
            assert torch.allclose(stored.features[part, 0].float(), expected, atol=2e-3)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("extract=2", "extract=2 must be a group of settings; set each by extract.<setting>=<value>"),
        ("extract.augmentations=-1", r"extract\.augmentations=-1 must be a whole number of at least 0"),
        ("extract.grayscale=2", r"extract\.grayscale=2 must be a number from 0 to 1"),
    ],
)
def test_wrong_augmentation_settings_are_refused(place, override, message):
    with pytest.raises(HypercolumnsError, match=message):
        run("extract", override)


def test_augmentations_override_selects_store(place, monkeypatch):
    """The named number decides, 0 too; the age of the stores does not."""
    few = ["data.train_images=2", "data.val_images=1", "sampler.n=4"]
    for order in ((0, 2), (2, 0)):
        for number in order:
            run("extract", *few, f"extract.augmentations={number}", "overwrite=true")
        for number in order:
            override = f"extract.augmentations={number}"
            monkeypatch.setattr(compose, "overrides", lambda override=override: [override])
            cfg = config("train", *RGB, *few, "stage=pretrain", override)
            images = image_index(cfg)
            store = find_store(cfg, images, shared_settings(cfg, images, backbone(cfg)))
            assert ("augmentation" in store.fingerprint) == (number == 2)
    assert len(list(place.glob("runs/shapes/rgb/samples/*/index.json"))) == 2


def test_interrupted_extraction_completes_store(extracted, place):
    folder = only(place, "runs/shapes/rgb/samples/*")
    whole = contents(folder)
    assert sum(name.endswith(".safetensors") for name in whole) == 3
    complete = folder / "train-00001.safetensors"
    before = complete.stat().st_mtime_ns
    for name in ("index.json", "train-00000.json", "train-00000.safetensors", "val-00000.json"):
        (folder / name).unlink()
    run("extract")
    assert contents(folder) == whole
    assert complete.stat().st_mtime_ns == before


def test_workers_do_not_change_the_store(extracted, place):
    folder = only(place, "runs/shapes/rgb/samples/*")
    alone = contents(folder)
    run("extract", "num_workers=2", "overwrite=true")
    assert contents(folder) == alone


def test_only_other_settings_make_another_store(place):
    few = "data.train_images=6"
    run("extract", few)
    folder = only(place, "runs/shapes/rgb/samples/*")
    before = (folder / "index.json").stat().st_mtime_ns
    run("extract", few)
    assert (folder / "index.json").stat().st_mtime_ns == before
    for setting in ("sampler.n=2", "seed=1", "alignment=corners", "sampler=uniform", "resize=[32,32]"):
        run("extract", few, setting)
    assert len(list(place.glob("runs/shapes/rgb/samples/*/index.json"))) == 6


def test_overwrite_replaces_only_store_files(extracted, place):
    folder = only(place, "runs/shapes/rgb/samples/*")
    whole, before = contents(folder), (folder / "train-00000.safetensors").stat().st_mtime_ns
    (folder / "notes.txt").write_text("mine")
    run("extract", "overwrite=true")
    assert contents(folder) == whole | {"notes.txt": b"mine"}
    assert (folder / "train-00000.safetensors").stat().st_mtime_ns != before


def test_lost_shard_is_named_and_rewritten(extracted, place):
    folder = only(place, "runs/shapes/rgb/samples/*")
    whole = contents(folder)
    (folder / "train-00001.safetensors").unlink()
    with pytest.raises(HypercolumnsError, match=r"train-00001\.safetensors has 0 bytes, not ") as caught:
        run("pretrain")
    assert re.search(r"has 0 bytes, not .*run stage=extract", error_line(caught.value))
    run("extract")
    assert contents(folder) == whole


def test_named_folder_is_completed_or_refused(place):
    run("extract", "samples=my samples")
    whole = contents(place / "my samples")
    run("extract")
    assert contents(only(place, "runs/shapes/rgb/samples/*")) == whole
    (place / "my samples" / "index.json").unlink()
    with pytest.raises(
        HypercolumnsError, match=r"samples=my samples does not fit this command: sampler\.n is 30, this command has 4"
    ):
        run("extract", "samples=my samples", "sampler.n=4")
    (place / "my samples" / "val-00000.json").unlink()
    run("extract", "samples=my samples")
    assert contents(place / "my samples") == whole
    run("extract", "samples=my samples", "sampler.n=4", "overwrite=true")
    assert SampleStore(place / "my samples").fingerprint["sampler"]["n"] == 4


@pytest.mark.parametrize("kept", [["train-00000.safetensors", ".train-00000.lock"], ["embedding"], []])
def test_named_folder_barely_begun_is_completed(place, kept):
    run("extract", "samples=mine", "embedding=20")
    whole = contents(place / "mine")
    (place / "mine" / ".train-00000.lock").touch()
    for path in (place / "mine").iterdir():
        if path.is_file() and path.name not in [*kept, "fingerprint.json", "config.yaml", "environment.json"]:
            path.unlink()
    run("extract", "samples=mine")
    assert contents(place / "mine") == whole


def test_unreadable_other_store_is_ignored(extracted, place):
    odd = place / "runs/shapes/rgb/samples/0123456789"
    odd.mkdir()
    for text in ("{", "{}"):
        (odd / "index.json").write_text(text)
        (odd / "fingerprint.json").write_text(text)
        run("pretrain", "val_images=0", "trainer.max_epochs=1", "overwrite=true")


def test_folder_with_other_files_is_refused(place):
    (place / "photos").mkdir()
    (place / "photos" / "cat.jpg").write_bytes(b"a cat")
    for overwrite in ("overwrite=false", "overwrite=true"):
        with pytest.raises(HypercolumnsError, match="samples=photos exists but is no store; give a new or"):
            run("extract", "samples=photos", overwrite)
    assert [path.name for path in (place / "photos").iterdir()] == ["cat.jpg"]


@pytest.mark.parametrize("stage", ["extract", "pretrain"])
def test_url_is_refused(place, stage):
    with pytest.raises(
        HypercolumnsError, match=r"samples=s3://bucket/store is a URL, but .*; copy or mount the folder"
    ):
        run(stage, "samples=s3://bucket/store")


def test_waits_for_shards_of_another_process(extracted, place, capsys, monkeypatch):
    folder = only(place, "runs/shapes/rgb/samples/*")
    whole = contents(folder)
    store = SampleStore(folder)
    samples = list(store.split("val").images())
    for name in ("index.json", "val-00000.json", "val-00000.safetensors"):
        (folder / name).unlink()
    other = StoreWriter(folder, store.fingerprint, {"train": 40, "val": 3})
    (shard,) = other.claims("val")

    def sleep(seconds):
        if seconds == POLL_SECONDS:  # not when the record of the command waits for Git
            other.write(shard, samples)

    monkeypatch.setattr(time, "sleep", sleep)
    run("extract")
    assert "extract val: waiting for other processes to write 1 shards" in capsys.readouterr().out
    assert contents(folder) == whole


def test_uncertainty_takes_least_certain_pixels(place):
    """With all pixels as candidates, the sampler takes those whose two highest logits are closest."""
    few = ["data.train_images=1", "data.val_images=1"]
    settings = [
        *few,
        "sampler=uncertainty",
        "sampler.n=20",
        "sampler.oversample_ratio=10000",
        "sampler.importance_sample_ratio=1",
    ]
    images = shapes("data", train_images=1, val_images=1)
    torch.manual_seed(0)
    for name in "ab":
        classifier = MLPClassifier(3, 6, hidden=8)
        Segmenter(HypercolumnExtractor(backbone(config("train", *RGB))), classifier, images.classes).save(place / name)
        run("extract", *settings, f"model={name}", f"samples=by {name}")
    stored = next(SampleStore(place / "by b").split("val").images())
    segmenter, pair = Segmenter.load(place / "b"), images.splits["val"][0]
    highest = SegmentationPredictor(segmenter).logits(pair.image).topk(2, dim=0).values
    margins = (highest[0] - highest[1]).where(read_mask(pair.mask, images.scheme) != 255, torch.inf)
    sampled = margins[tuple(stored.positions.long().T)]
    assert sampled.max() <= margins.flatten().sort().values[19] + 1e-5

    message = r"samples=by a does not fit this command: model is .*/a, this command has .*/b; choose"
    with pytest.raises(HypercolumnsError, match=message):
        run("extract", *settings, "model=b", "samples=by a")
    run("extract", *few, "model=a", "samples=of no model")  # other samplers ignore the model
    assert "model" not in SampleStore(place / "of no model").fingerprint


def test_uncertainty_needs_a_model_that_fits(place, segmenter):
    with pytest.raises(
        HypercolumnsError, match=r"sampler=uncertainty needs a trained model .*; give model=<the model\.s"
    ):
        run("extract", "data.train_images=1", "sampler=uncertainty")
    with pytest.raises(HypercolumnsError, match="model=nowhere is not a file"):
        run("extract", "data.train_images=1", "sampler=uncertainty", "model=nowhere")
    segmenter.save(place / "other")
    with pytest.raises(
        HypercolumnsError, match="model=other has the classes ground, cat, dog, but data shapes has the classes backgr"
    ):
        run("extract", "data.train_images=1", "sampler=uncertainty", "model=other")
    assert not list(place.glob("runs/*/*/samples"))


def test_non_finite_features_name_image_and_tap(place):
    state = {"features.0.weight": torch.full((96, 3, 7, 7), 1e6), "features.0.bias": torch.zeros(96)}
    torch.save(state, place / "weights.pth")
    overrides = ["cnn=sqn", "cnn.taps=[features.0]", f"cnn.weights={place}/weights.pth"]
    with pytest.raises(HypercolumnsError, match=r"image train_00000: tap features\.0 gives values .* float16"):
        run("extract", *overrides, base=TINY)


def test_verify_passes_intact_store(extracted, place, capsys):
    folder = only(place, "runs/shapes/rgb/samples/*")
    assert run_stage(config("train", *RGB, "stage=verify")) is None
    assert run_stage(config("train", "stage=verify", f"samples={folder}")) is None
    rows = sum(len(SampleStore(folder).split(split)) for split in ("train", "val"))
    assert capsys.readouterr().out.count(f"is damaged; it holds {rows:,} samples") == 2


def test_verify_names_damaged_shard(extracted, place):
    folder = only(place, "runs/shapes/rgb/samples/*")
    data = bytearray((folder / "train-00001.safetensors").read_bytes())
    data[-1] ^= 1
    (folder / "train-00001.safetensors").write_bytes(data)
    message = r"is damaged: train-00001\.safetensors has changed .*; remove the shard and its sidecar .*run stage"
    with pytest.raises(HypercolumnsError, match="is damaged: ") as caught:
        run_stage(config("train", *RGB, "stage=verify"))
    assert re.search(message, error_line(caught.value))
