"""Stage pretrain on a tiny data set; the features are the colours of the pixels."""

import csv
import json
import re
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers.small_runs import only, run
from PIL import Image

from hypercolumns import HypercolumnsError, SegmentationPredictor, Segmenter
from hypercolumns.data import shapes
from hypercolumns.io.files import write_json
from hypercolumns.io.masks import read_mask
from hypercolumns.labels import LabelScheme
from hypercolumns.runs.run import Run
from hypercolumns.settings import compose
from hypercolumns.store import SampleStore
from hypercolumns.tasks import PixelClassificationTask

pytestmark = pytest.mark.usefixtures("place")


def pretrain_fingerprint(place):
    return json.loads((place / "runs/shapes/rgb/pretrain/latest/run.json").read_text())["fingerprint"]


def test_store_becomes_model_then_trained_model(pretrained, place):
    folder = only(place, "runs/shapes/rgb/pretrain/*")
    names = {path.name for path in folder.iterdir()}
    assert {"model.safetensors", "metrics.json", "panels.png", "config.yaml", "run.json", "checkpoints"} <= names
    figures = json.loads((folder / "metrics.json").read_text())
    assert figures["miou"] == pretrained
    assert figures["images"] == 3
    assert 0 < figures["sample_miou"] < 1
    with (folder / "metrics.csv").open(newline="") as file:
        row = list(csv.DictReader(file))[figures["best_epoch"]]
    assert float(row["val/sample_miou"]) <= float(row["val/sample_miou_present"]) < 1
    assert (folder.parent / "latest").resolve() == folder

    trained = run("train", "trainer.max_epochs=1")
    folder = only(place, "runs/shapes/rgb/train/*")
    figures = json.loads((folder / "metrics.json").read_text())
    assert figures["miou"] == trained


def test_miou_is_that_of_saved_model_at_full_size(pretrained):
    """Compare with a plain count of the pixels that the saved model labels."""
    segmenter = Segmenter.load("runs/shapes/rgb/pretrain/latest/model.safetensors")
    both, either = np.zeros(6), np.zeros(6)
    for pair in shapes("data", train_images=40, val_images=3).splits["val"]:
        truth = read_mask(pair.mask, LabelScheme.of(segmenter.classes)).numpy()
        predicted = SegmentationPredictor(segmenter).predict(pair.image).labels
        for label in range(6):
            both[label] += ((truth == label) & (predicted == label)).sum()
            either[label] += (((truth == label) | (predicted == label)) & (truth != 255)).sum()
    assert pretrained == pytest.approx(np.mean(both[either > 0] / either[either > 0]))


def test_finished_run_is_not_repeated(pretrained, place):
    folder = only(place, "runs/shapes/rgb/pretrain/*")
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    assert run("pretrain", "num_workers=1") == pretrained
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before
    run("pretrain", "overwrite=true")
    assert (folder / "model.safetensors").stat().st_mtime_ns != before[folder / "model.safetensors"]
    run("pretrain", "optimizer.lr=0.1", "trainer.max_epochs=1")
    assert len(list(place.glob("runs/shapes/rgb/pretrain/*/metrics.json"))) == 3  # two runs and the link `latest`


def test_run_without_counts_is_scored_again(pretrained, place):
    folder = only(place, "runs/shapes/rgb/pretrain/*")
    figures = json.loads((folder / "metrics.json").read_text())
    old = {name: value for name, value in figures.items() if "boundary" not in name and name != "intervals"}
    (folder / "metrics.json").write_text(json.dumps(old))
    (folder / "images.npz").unlink()
    before = (folder / "model.safetensors").stat().st_mtime_ns
    assert run("pretrain") == pretrained
    assert json.loads((folder / "metrics.json").read_text()) == figures
    assert (folder / "model.safetensors").stat().st_mtime_ns == before


@pytest.mark.parametrize("lacking", ["miou_present", "boundary_miou_present", "per_class_iou", "boundary_width"])
def test_missing_figure_is_computed_on_repeat(pretrained, place, lacking, capsys):
    """A run of an older version has fewer metrics, and its checkpoints may have been deleted."""
    folder = only(place, "runs/shapes/rgb/pretrain/*")
    figures = json.loads((folder / "metrics.json").read_text())
    write_json(folder / "metrics.json", {name: value for name, value in figures.items() if name != lacking})
    if lacking != "boundary_width":
        shutil.rmtree(folder / "checkpoints")
    assert run("pretrain") == pretrained
    assert json.loads((folder / "metrics.json").read_text()) == figures
    assert "mean, classes in masks" in capsys.readouterr().out


def test_other_boundary_width_is_scored_again(pretrained, place):
    folder = only(place, "runs/shapes/rgb/pretrain/*")
    before = json.loads((folder / "metrics.json").read_text())
    trained = (folder / "model.safetensors").stat().st_mtime_ns
    assert run("pretrain", "boundary_width=7") == pretrained
    after = json.loads((folder / "metrics.json").read_text())
    assert (before["boundary_width"], after["boundary_width"]) == (3, 7)
    assert after["boundary_pixels"] > before["boundary_pixels"]
    assert (folder / "model.safetensors").stat().st_mtime_ns == trained


def test_scoring_more_images_does_not_retrain(extracted):
    assert run("pretrain", "trainer.max_epochs=1", "val_images=0") is None
    model = only(extracted, "runs/shapes/rgb/pretrain/*") / "model.safetensors"
    before = model.stat().st_mtime_ns
    assert run("pretrain", "trainer.max_epochs=1", "val_images=2") > 0
    assert json.loads(model.with_name("metrics.json").read_text())["evaluated"]["ids"] == ["val_00000", "val_00002"]
    assert model.stat().st_mtime_ns == before
    figures = model.with_name("metrics.json").read_text()
    assert run("pretrain", "trainer.max_epochs=1", "val_images=0") > 0
    assert model.with_name("metrics.json").read_text() == figures


@pytest.mark.parametrize("cut", [None, 3])
def test_resume_keeps_best_continues_last_epoch(extracted, monkeypatch, cut):
    """The scores peak in epoch 1; the training is interrupted in epoch `cut`, if at all."""
    from hypercolumns.tasks import pixel_classification

    real, scored, weights = pixel_classification.segmentation_metrics, [0.2, 0.9, 0.5, 0.4, 0.3], {}
    monkeypatch.setattr(
        pixel_classification,
        "segmentation_metrics",
        lambda confusion: replace(real(confusion), miou=scored[task_epoch[0]]),
    )
    task_epoch = [0]
    step, end = PixelClassificationTask.training_step, PixelClassificationTask.on_validation_epoch_end

    def cut_step(self, batch, batch_idx):
        if self.current_epoch == cut and not weights.get("cut"):
            weights["cut"] = True
            raise RuntimeError("power cut")
        return step(self, batch, batch_idx)

    def record_weights(self):
        task_epoch[0] = self.current_epoch
        weights[self.current_epoch] = self.classifier.first.weight.detach().clone()
        end(self)

    monkeypatch.setattr(PixelClassificationTask, "training_step", cut_step)
    monkeypatch.setattr(PixelClassificationTask, "on_validation_epoch_end", record_weights)
    arguments = ("trainer.max_epochs=5", "val_images=0")
    if cut:
        with pytest.raises(RuntimeError, match="power cut"):
            run("pretrain", *arguments)
    run("pretrain", *arguments)
    figures = json.loads((extracted / "runs/shapes/rgb/pretrain/latest/metrics.json").read_text())
    assert (figures["best_epoch"], figures["sample_miou"]) == (1, pytest.approx(0.9))
    model = Segmenter.load(extracted / "runs/shapes/rgb/pretrain/latest/model.safetensors")
    assert torch.equal(model.classifier.first.weight, weights[1])
    assert not torch.equal(weights[1], weights[4])
    with (extracted / "runs/shapes/rgb/pretrain/latest/metrics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["epoch"] for row in rows] == list("01234")
    assert float(rows[1]["val/sample_miou"]) == pytest.approx(0.9)


def test_patience_ends_training_early(extracted):
    run("pretrain", "trainer.max_epochs=30", "patience=1", "optimizer.lr=0", "val_images=0")
    last = torch.load(only(extracted, "runs/shapes/rgb/pretrain/*") / "checkpoints" / "last.ckpt", weights_only=True)
    assert last["epoch"] == 1


def test_lowest_loss_is_best_epoch(extracted):
    run("pretrain", "monitor=val/loss", "val_images=0")
    assert json.loads((extracted / "runs/shapes/rgb/pretrain/latest/metrics.json").read_text())["best_epoch"] == 2


def test_epochs_shuffle_samples_differently(extracted, monkeypatch):
    seen, step = [], PixelClassificationTask.training_step

    def record_first_batch(self, batch, batch_idx):
        if batch_idx == 0:
            seen.append(batch[0][:, 0].clone())
        return step(self, batch, batch_idx)

    monkeypatch.setattr(PixelClassificationTask, "training_step", record_first_batch)
    run("pretrain", "val_images=0")
    assert len(seen) == 3
    assert not torch.equal(seen[0], seen[1])


def test_changed_mask_is_another_data_set(extracted):
    mask = next(extracted.glob("data/*/VOCdevkit/VOC2012/SegmentationClass/train_00003.png"))
    with Image.open(mask) as image:
        image.load()
    image.putpixel((0, 0), 3)
    image.save(mask)
    with pytest.raises(
        HypercolumnsError, match=r"\(differences of .*: the train images or masks are others \(.*\): the settings"
    ):
        run("pretrain")


def test_classifier_uses_mean_and_std_of_store(pretrained, place):
    model = Segmenter.load(place / "runs/shapes/rgb/pretrain/latest/model.safetensors")
    mean, std = SampleStore(only(place, "runs/shapes/rgb/samples/*")).split("train").statistics()
    assert torch.allclose(model.classifier.mean, mean.float())
    assert torch.allclose(model.classifier.std, std.float())


def test_missing_input_names_command_to_run(place):
    with pytest.raises(HypercolumnsError, match=r"no store of samples in runs/.*/samples fits .*; .* stage=extract"):
        run("pretrain")
    with pytest.raises(HypercolumnsError, match=r"no pretrained model .*; make one first: .*stage=pretrain"):
        run("train")


def test_mismatched_input_names_both_values(pretrained, place):
    message = 'alignment is "exact", this command has "corners"'
    with pytest.raises(HypercolumnsError, match=message):
        run("pretrain", "alignment=corners")
    store = only(place, "runs/shapes/rgb/samples/*")
    with pytest.raises(HypercolumnsError, match=f"samples={store} does not fit this command: {message}"):
        run("pretrain", "alignment=corners", f"samples={store}")
    with pytest.raises(HypercolumnsError, match=message):
        run("train", "alignment=corners")


def test_newest_store_is_taken_for_any_sampler(extracted):
    run("extract", "sampler=uniform", "sampler.n=7")
    run("pretrain", "val_images=0", "trainer.max_epochs=1")
    fingerprint = json.loads((only(extracted, "runs/shapes/rgb/pretrain/*") / "run.json").read_text())["fingerprint"]
    newest = max(extracted.glob("runs/shapes/rgb/samples/*/index.json"), key=lambda path: path.stat().st_mtime)
    assert fingerprint["samples"] == newest.parent.name


def test_seed_override_selects_store(extracted, monkeypatch):
    expected = only(extracted, "runs/shapes/rgb/samples/*")
    run("extract", "seed=1")
    monkeypatch.setattr(compose, "overrides", lambda: ["seed=0"])
    run("pretrain", "seed=0", "val_images=0", "trainer.max_epochs=1")
    assert pretrain_fingerprint(extracted)["samples"] == expected.name


def test_sampler_override_selects_store(pretrained, place, monkeypatch):
    """Stage extract was given model=; stage pretrain finds the store without it."""
    model = place / "runs/shapes/rgb/pretrain/latest/model.safetensors"
    run("extract", "sampler=uncertainty", "sampler.n=5", f"model={model}")
    parent = place / "runs/shapes/rgb/samples"
    expected = max(parent.glob("*/index.json"), key=lambda path: path.stat().st_mtime).parent
    run("extract", "sampler=uniform", "sampler.n=5")
    monkeypatch.setattr(compose, "overrides", lambda: ["sampler=uncertainty", "sampler.n=5"])
    run("pretrain", "sampler=uncertainty", "sampler.n=5", "val_images=0", "trainer.max_epochs=1")
    assert pretrain_fingerprint(place)["samples"] == expected.name


def test_sampler_of_no_store_is_refused(extracted, monkeypatch):
    monkeypatch.setattr(compose, "overrides", lambda: ["sampler.n=7"])
    with pytest.raises(HypercolumnsError, match=r"no store of samples in .* has the sampler, .* make one first: "):
        run("pretrain", "sampler.n=7")


def test_store_of_another_seed_is_announced(extracted, monkeypatch, capsys):
    monkeypatch.setattr(compose, "overrides", lambda: ["seed=5"])
    run("pretrain", "seed=5", "val_images=0", "trainer.max_epochs=1")
    line = "no store has all sample settings of this command; the newest differs: seed is 0, this command has 5"
    assert line in capsys.readouterr().out


def test_folder_called_latest_is_reported(place, capsys):
    finished = Run(place / "0123")
    (place / "latest").mkdir()
    write_json(finished.folder / "run.json", {"fingerprint": {}, "finished": None})
    finished.mark_finished({"miou": 0.5})
    assert finished.miou == 0.5
    assert finished.finished
    assert re.search(rf"^latest could not be linked to {finished.folder}\s\(.*Is a directory", capsys.readouterr().out)
    assert sorted(path.name for path in place.iterdir()) == ["0123", "latest"]
