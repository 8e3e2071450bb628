"""Trainings that go on from an earlier run, with more epochs."""

import csv
import json
import math

import pytest
import torch
from helpers import small_runs

from hypercolumns import HypercolumnsError
from hypercolumns.callbacks.metrics_csv import read_metrics_csv
from hypercolumns.runs.earlier import EarlierRun
from hypercolumns.runs.lookup import changed_settings, differences
from hypercolumns.settings import compose
from hypercolumns.stages import run_stage
from hypercolumns.stages.pretrain import pretrain
from hypercolumns.tasks import PixelClassificationTask, SegmentationTask

BASE = ["classifier.dropout=0.5", "checkpoint_minutes=0"]
FLAT = ["scheduler=constant", "scheduler.warmup_fraction=0"]
PRETRAIN = ["batch_size=800", "val_images=0", *BASE]  # seven steps in an epoch
TRAIN = [
    *["init_from=scratch", "data.train_images=10", "data.val_images=2", "batch_size=2", "pixels=50", "ema=0.9"],
    *["augment.color_jitter=0.5", "augment.flip=0.5", *BASE],  # five steps in an epoch
]
SETTINGS = {"pretrain": PRETRAIN, "train": TRAIN}
TASKS = {"pretrain": PixelClassificationTask, "train": SegmentationTask}


@pytest.fixture(autouse=True)
def world(extracted):
    """The working directory, with a store of samples."""
    return extracted


def latest(place, stage):
    return (place / "runs/shapes/rgb" / stage / "latest").resolve()


def train(place, stage, *settings):
    """Run a stage, and return the folder of the run."""
    small_runs.run(stage, *SETTINGS[stage], *settings)
    return latest(place, stage)


def contents(folder):
    return {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in folder.rglob("*") if path.is_file()}


def cut_at(monkeypatch, task, epoch, batch):
    """Let the training fail before one step."""
    step = task.training_step

    def cut_step(self, *arguments):
        if (self.current_epoch, arguments[1]) == (epoch, batch):
            raise RuntimeError("power cut")
        return step(self, *arguments)

    monkeypatch.setattr(task, "training_step", cut_step)


def rates_of_steps(monkeypatch, task):
    """Return a list to which each later step adds its learning rate."""
    rates, step = [], task.training_step

    def recorded(self, *arguments):
        rates.append(self.optimizers().param_groups[0]["lr"])
        return step(self, *arguments)

    monkeypatch.setattr(task, "training_step", recorded)
    return rates


@pytest.mark.parametrize("stage", ["pretrain", "train"])
def test_two_and_two_epochs_equal_four(world, monkeypatch, stage):
    """With a constant rate, parts of a training give bitwise the whole, also if a part is interrupted."""
    whole = train(world, stage, *FLAT, "trainer.max_epochs=4")
    short = train(world, stage, *FLAT, "trainer.max_epochs=2")
    before = contents(short)
    longer = ["trainer.max_epochs=4", f"resume_from={short}"]
    with monkeypatch.context() as patch:
        cut_at(patch, TASKS[stage], 3, 2)
        with pytest.raises(RuntimeError, match="power cut"):
            train(world, stage, *FLAT, *longer)
    steps = rates_of_steps(monkeypatch, TASKS[stage])
    continued = train(world, stage, *FLAT, *longer)
    assert len(steps) == {"pretrain": 7, "train": 5}[stage] - 2
    assert continued not in (whole, short)
    assert contents(short) == before
    assert (continued / "model.safetensors").read_bytes() == (whole / "model.safetensors").read_bytes()
    states = [torch.load(each / "checkpoints/last.ckpt", weights_only=True) for each in (continued, whole)]
    for part in ("state_dict", "optimizer_states"):
        torch.testing.assert_close(*(state[part] for state in states), rtol=0, atol=0)
    rows, expected = (read_metrics_csv(folder / "metrics.csv") for folder in (continued, whole))
    assert [row["step"] for row in rows] == [row["step"] for row in expected]
    assert [row["val/loss"] for row in rows] == [row["val/loss"] for row in expected]
    assert (
        json.loads((continued / "metrics.json").read_text())["miou"]
        == json.loads((whole / "metrics.json").read_text())["miou"]
    )
    events = [path.name for path in (world / f"runs/shapes/rgb/events/{stage}-{short.name}").glob("events*")]
    copied = [path.name for path in (world / f"runs/shapes/rgb/events/{stage}-{continued.name}").glob("events*")]
    final = {"pretrain": 0, "train": 1}[stage]  # the file with the final metrics of the short run; pretrain scores none
    assert len(set(events) & set(copied)) == len(events) - final
    done = contents(continued)
    small_runs.run(stage, *SETTINGS[stage], *FLAT, *longer)
    small_runs.run(stage, *SETTINGS[stage], *FLAT, "trainer.max_epochs=4", f"resume_from={continued.parent / 'latest'}")
    assert len(steps) == {"pretrain": 7, "train": 5}[stage] - 2
    assert (continued / "model.safetensors").stat().st_mtime_ns == done[continued / "model.safetensors"][0]


def test_interrupted_run_goes_on_elsewhere(world, monkeypatch):
    """The cut comes in the middle of an epoch."""
    whole = train(world, "pretrain", *FLAT, "trainer.max_epochs=3")
    with monkeypatch.context() as patch:
        cut_at(patch, PixelClassificationTask, 1, 4)
        with pytest.raises(RuntimeError, match="power cut"):
            train(world, "pretrain", *FLAT, "trainer.max_epochs=2")
    (cut,) = (path for path in whole.parent.iterdir() if path not in (whole, whole.parent / "latest"))
    continued = train(world, "pretrain", *FLAT, "trainer.max_epochs=3", f"resume_from={cut}/checkpoints/last.ckpt")
    assert (continued / "model.safetensors").read_bytes() == (whole / "model.safetensors").read_bytes()


def test_rates_of_the_rest_follow_the_schedule(world, monkeypatch):
    """7 steps in an epoch: 14 steps are left, and the first 3 rise."""
    short = train(world, "pretrain", "trainer.max_epochs=1", "scheduler.min_lr_ratio=0.1")
    rates = rates_of_steps(monkeypatch, PixelClassificationTask)
    settings = ["trainer.max_epochs=3", "scheduler.warmup_fraction=0.2", "optimizer.lr=0.002"]
    continued = train(world, "pretrain", *settings, f"resume_from={short}")
    rising = [0.1 + 0.9 * (step + 1) / 4 for step in range(3)]
    falling = [(1 + math.cos(math.pi * step / 11)) / 2 for step in range(11)]
    assert rates == pytest.approx([0.002 * factor for factor in rising + falling])
    assert float(read_metrics_csv(continued / "metrics.csv")[0]["train/learning_rate"]) == pytest.approx(1e-4)


def test_interrupted_cosine_rises_from_its_rate(world, monkeypatch):
    """After 3 of 7 steps, 4 + 7 are left, and the first 2 rise."""
    with monkeypatch.context() as patch:
        cut_at(patch, PixelClassificationTask, 0, 3)
        with pytest.raises(RuntimeError, match="power cut"):
            train(world, "pretrain", "trainer.max_epochs=1")
    cut = small_runs.only(world, "runs/shapes/rgb/pretrain/*")
    rates = rates_of_steps(monkeypatch, PixelClassificationTask)
    train(world, "pretrain", "trainer.max_epochs=2", "scheduler.warmup_fraction=0.2", f"resume_from={cut}")
    start = (1 + math.cos(math.pi * 3 / 7)) / 2
    rising = [start + (1 - start) * (step + 1) / 3 for step in range(2)]
    falling = [(1 + math.cos(math.pi * step / 9)) / 2 for step in range(9)]
    assert rates == pytest.approx([1e-3 * factor for factor in rising + falling])


def test_best_epoch_may_be_an_earlier_one(world):
    """A rate of 0 changes nothing in the second part."""
    short = train(world, "pretrain", "trainer.max_epochs=2")
    continued = train(world, "pretrain", "trainer.max_epochs=3", "optimizer.lr=0", f"resume_from={short}")
    assert (continued / "model.safetensors").read_bytes() == (short / "model.safetensors").read_bytes()
    figures = [json.loads((folder / "metrics.json").read_text()) for folder in (short, continued)]
    assert figures[0]["best_epoch"] == figures[1]["best_epoch"]
    assert len(read_metrics_csv(continued / "metrics.csv")) == 3


def test_table_of_csv_logger_has_all_epochs(world):
    settings = [*TRAIN, *FLAT, "logger=csv", "trainer.log_every_n_steps=1"]

    def table(epochs, *more):
        small_runs.run("train", *settings, f"trainer.max_epochs={epochs}", *more)
        folder = latest(world, "train")
        path = world / f"runs/shapes/rgb/events/train-{folder.name}/csv/metrics.csv"
        with path.open(newline="") as file:
            return folder, list(csv.DictReader(file))

    whole = table(2)[1]
    short, rows = table(1)
    assert rows[-1]["final/miou"]
    continued = table(2, f"resume_from={short}")[1]
    names = ("epoch", "step", "train/loss", "train/epoch_loss", "val/loss", "final/miou")
    assert [[row[name] for name in names] for row in continued] == [[row[name] for name in names] for row in whole]
    assert [row["epoch"] for row in continued if row["val/loss"]] == ["0", "1"]


def test_command_that_goes_on_is_printed(world, monkeypatch, capsys):
    short = train(world, "pretrain", "trainer.max_epochs=1", "patience=2")
    capsys.readouterr()
    given = ["stage=pretrain", "trainer.max_epochs=2", "patience=3", "overwrite=true"]
    monkeypatch.setattr(compose, "overrides", lambda: given)
    train(world, "pretrain", "trainer.max_epochs=2", "patience=3", "overwrite=true")
    said = " ".join(capsys.readouterr().out.split())
    folder = f"runs/shapes/rgb/pretrain/{short.name}"
    assert f"{folder} has the same settings and has trained 1 of 1 epochs; to go on from it instead: python" in said
    assert f": python train.py stage=pretrain trainer.max_epochs=2 patience=3 resume_from={folder}" in said
    assert "starts from the beginning with trainer.max_epochs=2, because the learning rate follows its schedule" in said
    for silent in ([], ["trainer.max_epochs=3", "batch_size=900"], ["trainer.max_epochs=1"]):
        train(world, "pretrain", "trainer.max_epochs=2", "patience=3", *silent)
        assert "go on from it" not in capsys.readouterr().out
    train(world, "pretrain", *FLAT, "trainer.max_epochs=1")
    train(world, "pretrain", *FLAT, "trainer.max_epochs=2")
    assert "because a run has a fixed number of epochs" in " ".join(capsys.readouterr().out.split())
    monkeypatch.setattr(compose, "is_sweep_job", lambda: True)
    pretrain(small_runs.config("train", *small_runs.RGB, "stage=pretrain", *PRETRAIN, "trainer.max_epochs=4"))
    assert "go on from it" not in capsys.readouterr().out


def test_runs_that_do_not_fit_are_refused(world, monkeypatch):
    short = train(world, "pretrain", "trainer.max_epochs=1", "patience=1", "optimizer.lr=0")

    def refused(message, *settings):
        before = {*short.parent.iterdir()}
        with pytest.raises(HypercolumnsError, match=message):
            train(world, "pretrain", "optimizer.lr=0", *settings)
        assert {*short.parent.iterdir()} == before

    here = f"resume_from={short}"
    refused(
        r"batch_size is 800, this command has 900; set what differs", here, "batch_size=900", "trainer.max_epochs=2"
    )
    refused(r"ema is null, this command has 0\.9", here, "ema=0.9", "trainer.max_epochs=2")
    refused(r"has trained 1 epochs already, so trainer\.max_epochs=1 leaves none", here, "trainer.max_epochs=1")
    refused(r"resume_from=nowhere is no run of stage pretrain or train", "resume_from=nowhere")
    refused(r"best\.ckpt is not the last state of a run", f"{here}/checkpoints/best.ckpt")
    stopped = train(world, "pretrain", "trainer.max_epochs=9", "patience=1", "optimizer.lr=0")
    refused(
        r"stopped early: val/sample_miou has not improved in its last 1 validations, so patience=1 leaves none",
        *[f"resume_from={stopped}", "patience=1", "trainer.max_epochs=12"],
    )
    longer = train(world, "pretrain", "optimizer.lr=0", f"resume_from={stopped}", "patience=2", "trainer.max_epochs=12")
    assert len(read_metrics_csv(longer / "metrics.csv")) == 3  # the second epoch was the first without progress
    with pytest.raises(HypercolumnsError, match="is a run of stage pretrain, but this command has stage=train; give"):
        train(world, "train", here)
    with pytest.raises(HypercolumnsError, match="is a run of stage pretrain, but this command has stage=all; give st"):
        run_stage(small_runs.config("train", "stage=all", here))
    for path in (short / "checkpoints").iterdir():
        path.unlink()
    refused(r"has no checkpoint to go on from \(.*last\.ckpt\); train from the beginning", here)


def test_changes_name_entries_of_either_side():
    changed = changed_settings({"a": {"b": 1, "c": 0}, "ema": 0.9}, {"a": {"b": 2, "c": 0}, "new": "x"})
    assert changed == {
        "a.b": "a.b is 1, this command has 2",
        "new": 'new is null, this command has "x"',
        "ema": "ema is 0.9, this command has null",
    }


def test_one_and_all_batches_differ(world, monkeypatch, capsys):
    """limit_train_batches is one batch for 1, and all for 1.0."""
    assert differences({"a": 1, "b": {"c": True}}, {"a": 1.0, "b": {"c": 1}}) == {
        "a": "a is 1, this command has 1.0",
        "b.c": "b.c is true, this command has 1",
    }
    assert changed_settings({"a": 1.0, "b": [2]}, {"a": 1, "b": (2,)}) == {"a": "a is 1.0, this command has 1"}
    short = train(world, "pretrain", "trainer.max_epochs=1", "trainer.limit_train_batches=1.0")
    message = r"trainer\.limit_train_batches is 1\.0, this command has 1; set"
    for epochs in (1, 2):
        settings = [f"trainer.max_epochs={epochs}", "trainer.limit_train_batches=1"]
        with pytest.raises(HypercolumnsError, match=message):
            train(world, "pretrain", *settings, f"resume_from={short}")
    capsys.readouterr()
    train(world, "pretrain", *settings)
    assert "go on from it" not in capsys.readouterr().out


def test_unlisted_start_stays_that_of_the_run(world, monkeypatch):
    """A newer pretrained model does not change the model from which the averaged weights come."""
    settings = [*TRAIN[3:], "trainer.limit_train_batches=4", "wise_ft_alpha=0.5"]
    small_runs.run("pretrain", *PRETRAIN, "trainer.max_epochs=1")
    small_runs.run("train", *settings, *FLAT, "trainer.max_epochs=2")
    whole = latest(world, "train")
    small_runs.run("train", *settings, *FLAT, "trainer.max_epochs=1")
    short = latest(world, "train")
    small_runs.run("pretrain", *PRETRAIN, "trainer.max_epochs=1", "seed=5")
    longer = ["trainer.max_epochs=2", f"resume_from={short}"]
    small_runs.run("train", *settings, *FLAT, *longer)
    assert latest(world, "train") != whole
    assert (latest(world, "train") / "model.safetensors").read_bytes() == (whole / "model.safetensors").read_bytes()
    with pytest.raises(
        HypercolumnsError, match=r"classifier\.hidden is 8, this command has 9; set .* init_from=.* in its"
    ):
        small_runs.run("train", *settings, *FLAT, *longer, "classifier.hidden=9")
    earlier = EarlierRun.find(short)
    texts = earlier.changes(earlier.fingerprint | {"start": "scratch"})
    outputs = "background, disc, box, triangle, star, ring"
    model = earlier.fingerprint["start"]["model"]
    init_from = (
        f"init_from: that run started from model {model} (with the outputs of {outputs}), this command from scratch"
    )
    assert texts == {"init_from": init_from}
