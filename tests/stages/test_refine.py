"""Stage refine: a second pass for a finished model; the features are the colours of the pixels."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.paths import ROOT
from helpers.small_runs import RGB, only, run
from PIL import Image
from safetensors.torch import load_file

from hypercolumns import HypercolumnsError, Segmenter
from hypercolumns.reports.format import format_number
from hypercolumns.settings.schema import taken

BASE = [text for text in RGB if "epochs" not in text]
PRETRAIN, REFINE = "runs/shapes/rgb/pretrain/latest", "runs/shapes/rgb/refine"


@pytest.fixture(scope="module")
def refined(tmp_path_factory):
    """A folder with a pretrained model and its refined one, and the mIoU of both."""
    place = tmp_path_factory.mktemp("refined")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        run("extract")
        before = run("pretrain", "trainer.max_epochs=20", "batch_size=100")
        after = refine(PRETRAIN)
    return place, before, after


@pytest.fixture(autouse=True)
def place(refined, tmp_path, monkeypatch):
    shutil.copytree(refined[0], tmp_path, dirs_exist_ok=True, symlinks=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def refine(model, *extra):
    return run("refine", f"model={model}", "refine.pixels=300", "refine.steps=200", *extra, base=BASE)


def test_second_pass_gains(place, refined):
    _, before, after = refined
    folder = only(place, f"{REFINE}/*")
    assert (folder.parent / "latest").resolve() == folder
    assert after > before + 0.05  # the colour of a pixel is shared by two classes; the shape around it is not
    metrics = json.loads((folder / "metrics.json").read_text())
    assert metrics["miou"] == after
    assert metrics["first_pass"]["miou"] == before  # stage refine scores it, too
    assert after == run("evaluate", f"model={folder}")  # the file holds what was scored


def test_first_pass_is_unchanged(place):
    first, both = (load_file(Path(path, "model.safetensors")) for path in (PRETRAIN, f"{REFINE}/latest"))
    assert all(torch.equal(tensor, both[name]) for name, tensor in first.items())
    assert {name.partition(".")[0] for name in both.keys() - first.keys()} == {"second_pass"}


def test_run_is_made_once(place, refined):
    folder = only(place, f"{REFINE}/*")
    written = (folder / "model.safetensors").stat().st_mtime_ns
    assert refine(PRETRAIN) == refined[2]
    assert only(place, f"{REFINE}/*") == folder
    assert (folder / "model.safetensors").stat().st_mtime_ns == written


def test_interrupted_scoring_goes_on(place, refined):
    folder = only(place, f"{REFINE}/*")
    (folder / "metrics.json").unlink()
    written = (folder / "model.safetensors").stat().st_mtime_ns
    assert refine(PRETRAIN) == refined[2]
    assert (folder / "model.safetensors").stat().st_mtime_ns == written


def test_boundary_width_trains_nothing_again(place, refined):
    folder = only(place, f"{REFINE}/*")
    narrow = json.loads((folder / "metrics.json").read_text())
    written = (folder / "model.safetensors").stat().st_mtime_ns
    assert refine(PRETRAIN, "boundary_width=7") == refined[2]
    assert only(place, f"{REFINE}/*") == folder
    assert (folder / "model.safetensors").stat().st_mtime_ns == written
    wide = json.loads((folder / "metrics.json").read_text())
    assert (narrow["boundary_width"], wide["boundary_width"]) == (3, 7)
    assert wide["boundary_miou"] > narrow["boundary_miou"]


@pytest.mark.slow(seconds=40)
def test_two_processes_give_the_model_of_one(place, refined):
    folder = only(place, f"{REFINE}/*")
    expected, miou = (folder / "model.safetensors").read_bytes(), refined[2]
    settings = [*taken("refine", BASE), f"model={PRETRAIN}", "refine.pixels=300", "refine.steps=200", "overwrite=true"]
    two = ["trainer=ddp", "trainer.devices=2"]

    def start(*extra):
        command = [sys.executable, str(ROOT / "train.py"), "stage=refine", *settings, *two, *extra]
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)

    done = start()
    assert done.returncode == 0, done.stderr[-3000:]
    assert (folder / "model.safetensors").read_bytes() == expected
    assert json.loads((folder / "metrics.json").read_text())["miou"] == miou
    failed = start("refine.lr=1e6")  # an error of rank zero ends the other rank
    assert failed.returncode == 2
    assert failed.stderr.startswith("error: ")


def test_settings_make_another_run(place):
    for change in ("refine.steps=2", "seed=1"):
        refine(PRETRAIN, change)
    assert len([path for path in Path(REFINE).iterdir() if not path.is_symlink()]) == 3


def test_features_fit_into_memory(place, capsys, monkeypatch):
    monkeypatch.setattr(
        "hypercolumns.stages.refine.MAX_FEATURES", 10 * 16 * 6 * 7
    )  # 7 pixels of each of 10 images, of 6 classes
    refine(PRETRAIN, "refine.images=10")
    assert "7 pixels of each image in place of refine.pixels=300" in capsys.readouterr().out


def test_training_starts_without_second_pass(place, capsys):
    run("train", f"init_from={REFINE}/latest", "trainer.max_epochs=1")
    assert "second pass  left out" in capsys.readouterr().out
    assert Segmenter.load("runs/shapes/rgb/train/latest").second_pass is None


def test_val_images_without_labels(place, capsys):
    names = Segmenter.load(PRETRAIN).classes
    Path("classes.txt").write_text("\n".join(names))
    for split, value in (("train", 1), ("val", 255)):
        for folder, pixels in (("images", np.zeros((9, 20, 3))), ("masks", np.full((9, 20), value))):
            Path(folder).mkdir(exist_ok=True)
            Image.fromarray(pixels.astype(np.uint8)).save(f"{folder}/{split}.png")
        Path(f"{split}.txt").write_text(split)
    data = ["data=folder", "data.images=images", "data.masks=masks", "data.classes=classes.txt", "data.void=255"]
    data += ["data.train=train.txt", "data.val=val.txt", "data.missing_classes=allow", "cnn=rgb", "num_workers=0"]
    settings = [*data, "trainer.accelerator=cpu", f"model={PRETRAIN}", "refine.steps=2"]
    assert run("refine", *settings, base=[]) is None
    assert f"the first pass alone: mIoU {format_number(None)}" in capsys.readouterr().out


def test_diverged_training_writes_no_model(place):
    with pytest.raises(HypercolumnsError, match=r"second pass diverged by step \d+, .*; lower refine.lr"):
        refine(PRETRAIN, "refine.lr=1e6")
    only(place, f"{REFINE}/*")  # the folder of the failed run is gone


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["refine"], "needs model="),
        (["refine", f"model={REFINE}/latest"], "has a second pass already"),
        (["refine", f"model={PRETRAIN}", "refine.hidden=0"], "refine.hidden"),
        (["refine", f"model={PRETRAIN}", "refine.class_weights=2"], "refine.class_weights"),
        (["average", f"models=[{REFINE}/latest,{PRETRAIN}]"], "has a second pass"),
    ],
)
def test_faults_are_one_error(arguments, message):
    with pytest.raises(HypercolumnsError, match=message):
        run(*arguments, base=BASE)
