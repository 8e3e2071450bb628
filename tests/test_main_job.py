"""The main job of README.md, run as a newcomer runs it."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.paths import ROOT

README = (ROOT / "README.md").read_text()
MAIN_JOB = re.search(r"uv run (train\.py .*)", README)[1].split()


@pytest.fixture
def run(run_script):
    """A function that runs a script, checks that it succeeds and returns its output."""

    def run_to_end(*arguments, cwd):
        result = run_script(*arguments, cwd=cwd)
        assert result.returncode == 0, result.stderr[-3000:]
        return result.stdout

    return run_to_end


def miou(place, run):
    return json.loads((place / "runs" / "shapes" / run / "latest" / "metrics.json").read_text())["miou"]


TINY = [
    "experiment=demo",
    "cnn.trainable=0",
    "pixels=all",
    "data.train_images=6",
    "data.val_images=2",
    "trainer.max_epochs=2",
    "trainer.log_every_n_steps=1",
]


@pytest.mark.slow
def test_all_stages_then_predict_small(run, tmp_path):
    """SqueezeNet passes through all stages and predict.py with odd file names; TensorBoard can read the events."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    arguments = ["train.py", *TINY, "classifier.hidden=16", "runs=my runs"]
    output = run(*arguments, cwd=tmp_path)
    folder = tmp_path / "my runs" / "shapes" / "sqn" / "train" / "latest"
    assert "mean (mIoU)" in output
    for name in ("model.safetensors", "metrics.json", "panels.png"):
        assert (folder / name).is_file()
        assert str(Path("my runs") / "shapes" / "sqn" / "train") in output
    assert {path.name for path in tmp_path.iterdir()} == {"data", "my runs"}

    (run_events,) = (tmp_path / "my runs" / "shapes" / "sqn" / "events").glob("train-*")
    events = EventAccumulator(str(run_events)).Reload()
    scalars = set(events.Tags()["scalars"])
    assert {
        "train/loss",
        "val/loss",
        "val/miou",
        "val/miou_present",
        "train/learning_rate",
        "train/images_per_second",
    } <= scalars
    assert {"val_iou/background", "final/miou", "final/miou_present", "final/boundary_miou"} <= scalars
    pictures = {f"val_images/{name}" for name in ("confusion", "fixed_1", "fixed_2", "worst_1", "worst_2")}
    assert pictures | {"final_images/confusion", "final_images/panels"} == set(events.Tags()["images"])
    assert "_hparams_/session_start_info" in events.summary_metadata
    figures = json.loads((folder / "metrics.json").read_text())
    assert events.Scalars("final/miou")[-1].value == pytest.approx(figures["miou"])
    assert len(events.Scalars("val/miou")) == 2
    assert len(events.Scalars("train/epoch_loss")) == 2

    again = run(*arguments, cwd=tmp_path)
    assert "extract: already done" in again
    assert "epoch" not in again

    (tmp_path / "in = [1], & more").mkdir()
    picture = next(tmp_path.glob("data/*/VOCdevkit/VOC2012/JPEGImages/val_00000.jpg"))
    (tmp_path / "in = [1], & more" / "a, b=c.jpg").write_bytes(picture.read_bytes())
    model = "model=my runs/shapes/sqn/train/latest/model.safetensors"
    run("predict.py", model, "images=in = [1], & more", "out=out's", cwd=tmp_path)
    tables = {"predictions.jsonl", "class_fractions.csv"}
    assert {path.name for path in (tmp_path / "out's").iterdir()} == {"a, b=c.png", "a, b=c.overlay.jpg", *tables}


@pytest.mark.slow(seconds=270)
def test_main_job_beats_a_classifier_of_colours(run, tmp_path):
    """The README's command reaches 0.80 mIoU; a classifier of each pixel's colour, on fewer images, 0.25 to 0.50."""
    subprocess.run([sys.executable, str(ROOT / MAIN_JOB[0]), *MAIN_JOB[1:]], cwd=tmp_path, check=True)
    assert miou(tmp_path, "sqn/train") >= 0.8
    colour = ["cnn=rgb", "sampler=uniform", "sampler.n=1000", "last_stage=pretrain"]
    colour += ["data.train_images=80", "data.val_images=20"]
    run("train.py", "data=shapes", *colour, cwd=tmp_path)
    assert 0.25 <= miou(tmp_path, "rgb/pretrain") <= 0.5  # predicting only the most frequent class gives 0.1


@pytest.mark.slow(seconds=40)
def test_vgg_beats_the_baseline(run, tmp_path):
    small = ["data.train_images=40", "data.val_images=8", "classifier.hidden=64", "pixels=500", "trainer.max_epochs=3"]
    run("train.py", "experiment=demo", "cnn=vgg", "cnn.trainable=0", *small, cwd=tmp_path)
    figures = json.loads((tmp_path / "runs" / "shapes" / "vgg" / "train" / "latest" / "metrics.json").read_text())
    assert figures["miou"] > figures["baseline"]["miou"] + 0.3
