"""`hypercolumns.train`: it does what the command does, and leaves the program that calls it as it was."""

import logging
import re
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import yaml
from helpers.small_runs import only
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import OmegaConf
from PIL import Image

import hypercolumns
from hypercolumns.errors import HypercolumnsError
from hypercolumns.runs.trained_run import TrainedRun

pytestmark = pytest.mark.usefixtures("without_pictures")
QUICK = {
    "data": "shapes",
    "cnn": "rgb",
    "num_workers": 0,
    "data__train_images": 4,
    "data__val_images": 2,
    "classifier": {"hidden": 4},
    "trainer": {"max_epochs": 2, "accelerator": "cpu"},
    "bootstrap_samples": 0,
}
COMMAND = (
    "data=shapes cnn=rgb num_workers=0 data.train_images=4 data.val_images=2 classifier.hidden=4 trainer.max_epochs=2 "
    "trainer.accelerator=cpu bootstrap_samples=0 embedding=0"
).split()


@pytest.fixture
def quick(tmp_path, monkeypatch):
    """Return a function that trains quickly in `tmp_path`, the working directory."""
    monkeypatch.chdir(tmp_path)

    def train(**settings):
        more = {} if "stage" in settings else {"last_stage": "pretrain", "embedding": 0}
        return hypercolumns.train(**(QUICK | more | settings))

    return train


def config_of(run):
    return yaml.safe_load((run.folder / "config.yaml").read_text())


def test_command_and_function_give_the_same_bytes(tmp_path, quick, run_script):
    run = quick(last_stage="train")
    assert run_script("train.py", *COMMAND, "runs=by_command", cwd=tmp_path).returncode == 0
    files = [path for path in (tmp_path / "by_command").rglob("*.safetensors") if path.parent.name != "latest"]
    assert {path.parent.parent.name for path in files} == {"pretrain", "samples", "train"}
    for path in files:
        assert path.read_bytes() == (tmp_path / "runs" / path.relative_to(tmp_path / "by_command")).read_bytes()
    assert run.folder == only(tmp_path, "runs/shapes/rgb/train/*").relative_to(tmp_path)
    assert run.history == TrainedRun(Path("runs/shapes/rgb/train/latest")).history


def test_result_has_model_metrics_and_history(tmp_path, quick):
    run = quick()
    assert run.folder.parent == Path("runs/shapes/rgb/pretrain")
    assert run.metrics["images"] == 2
    assert [row["epoch"] for row in run.history] == [0, 1]
    assert [row["step"] for row in run.history] == [1, 2]
    assert run.history[1]["val/loss"] < run.history[0]["val/loss"]
    assert run.model.predict(np.zeros((5, 7, 3), np.uint8)).labels.shape == (5, 7)
    written = run.model_path.stat().st_mtime_ns
    assert quick().model_path.stat().st_mtime_ns == written  # a repeated call returns the finished run
    assert 'command": "hypercolumns train data=shapes cnn=rgb' in (run.folder / "environment.json").read_text()


def test_images_masks_and_classes(tmp_path, quick):
    for name in ("photos, new", "masks"):
        (tmp_path / name).mkdir()
    for number in range(4):
        mask = np.arange(12 * 15).reshape(12, 15) % 2
        Image.fromarray(np.uint8(mask * 200)).convert("RGB").save(tmp_path / f"photos, new/{number}.png")
        Image.fromarray(np.uint8(mask)).save(tmp_path / f"masks/{number}.png")
    others = {name: value for name, value in QUICK.items() if not name.startswith("data")}
    folders = {"images": tmp_path / "photos, new", "masks": Path("masks")}
    run = hypercolumns.train(**folders, classes=["sky", "a, b"], out=tmp_path / "own", last_stage="pretrain", **others)
    assert run.folder.parent == tmp_path / "own/folder/rgb/pretrain"
    assert run.model.predict(tmp_path / "photos, new/0.png").classes == ("sky", "a, b")


def test_values_arrive_as_they_are(quick):
    run = quick(
        optimizer__lr=np.float64(0.25),
        augment={},
        optimizer={"no_decay_norm_and_bias": True},
        seed=np.int64(3),
        logger=None,
        callbacks=None,
    )
    config = config_of(run)
    assert (config["optimizer"]["lr"], config["optimizer"]["no_decay_norm_and_bias"], config["seed"]) == (0.25, True, 3)
    assert not [*run.folder.parents[1].glob("events/*/events*")]


def test_run_of_a_call_is_the_start_of_another(quick):
    first = quick()
    longer = quick(stage="pretrain", resume_from=first, trainer__max_epochs=3, trainer={"accelerator": "cpu"})
    assert [row["epoch"] for row in longer.history] == [0, 1, 2]
    run = quick(stage="train", init_from=longer, batch_size=2, bootstrap_samples=0)
    assert config_of(run)["init_from"] == str(longer.folder)


def test_configs_and_callback_of_ones_own(tmp_path, quick):
    (tmp_path / "own, a" / "classifier").mkdir(parents=True)
    (tmp_path / "own, a" / "classifier" / "small.yaml").write_text("defaults: [mlp]\nhidden: 5\n")
    timer = {"_target_": "pytorch_lightning.callbacks.Timer"}
    config = config_of(quick(config_dir="own, a", classifier="small", callbacks={"timer": timer}))
    assert config["classifier"]["hidden"] == 5
    assert "timer" in config["callbacks"]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"optimizer__lr": "fast"}, "optimizer.lr=fast must be a number"),
        ({"optimiser": {"lr": 1}}, "optimiser is not a setting; did you mean optimizer?"),
        ({"trainer": {"max_epoch": 1}}, "trainer.max_epoch is not a setting; did you mean trainer.max_epochs?"),
        ({"search": "optuna"}, "search=optuna needs -m"),
        ({"cnn": "nonet"}, "cnn=nonet is not known; choose one of"),
        ({"cnn": "_backbone"}, "cnn=_backbone only holds settings that other files"),
        ({"stage": "extract"}, "run other stages by the command hypercolumns train stage=extract"),
        ({"logger": object}, 'logger=.*type type is no text.*as in {"mine": {"_target_": "package.Class"'),
        ({"config_dir": "nope"}, "config_dir=nope is not a folder"),
        ({"runs": "other"}, "runs is given twice; give it by the argument out alone"),
        ({"optimizer__lr": 1, "optimizer": {"lr": 2}}, "optimizer.lr is given twice"),
        ({"classifier": False}, r"must be set to the name of a file \(classifier=false\)"),
        ({"logger": ["csv", None]}, r"leave out null; logger=null means none at all"),
        ({"callbacks": {"x": {"_target_": "foo.Bar"}}}, r"callbacks\.x\._target_=foo\.Bar can't be imported"),
        ({"max_epochs": 3}, r"max_epochs is not a setting; did you mean trainer\.max_epochs\?"),
        # refused before the first stage, although only stage train would use them
        ({"last_stage": "train", "cnn__trainable": 4}, r"cnn\.trainable=4 .* rgb has no layers to train; use 0"),
        ({"last_stage": "train", "augment": {"crop": -4}}, r"augment\.crop=-4"),
        ({"classifier": {"hidden": -3}}, r"classifier\.hidden=-3"),
        ({"stage": "foo"}, "stage=foo must be all, pretrain or train, which give a model$"),
        ({"data__map": {"it's": "x"}}, "data.map=.*the key \"it's\" can't be read"),
        ({"stage": "pretrain", "embedding": 0}, "embedding is not a setting of stage=pretrain, but of extract, all"),
        ({"stage": "pretrain"}, "make one first: hypercolumns train stage=extract"),
    ],
)
def test_bad_settings_raise_one_line(quick, settings, message):
    with pytest.raises(HypercolumnsError) as caught:
        quick(**settings)
    assert re.search(message, str(caught.value)), caught.value
    assert not [*Path("runs").glob("*/*/samples/*")]
    assert "\n" not in str(caught.value)


def test_program_with_its_own_hydra_is_left_alone(tmp_path, quick):
    (tmp_path / "app").mkdir()
    theirs = OmegaConf.create({"hydra": {"mode": RunMode.MULTIRUN, "overrides": {"task": ["stage=evaluate"]}}})
    levels = {name: logging.getLogger(name).level for name in ("PIL", "pytorch_lightning")}
    before = HydraConfig.instance().cfg
    try:
        HydraConfig.instance().cfg = theirs
        with initialize_config_dir(str(tmp_path / "app"), version_base="1.3"):
            hydra, filters = GlobalHydra.instance().hydra, list(warnings.filters)
            assert quick().metrics["images"] == 2
            assert GlobalHydra.instance().hydra is hydra
        assert HydraConfig.instance().cfg is theirs
        assert warnings.filters == filters
    finally:
        HydraConfig.instance().cfg = before
    assert {name: logging.getLogger(name).level for name in levels} == levels


SCRIPT = """
import os
import hypercolumns

if __name__ == "__main__":
    settings = SETTINGS | {"last_stage": "pretrain", "trainer": {"max_epochs": 1, "accelerator": "cpu"}}
    run = hypercolumns.train(**(settings | {"trainer": "ddp", "trainer__devices": 2, "trainer__accelerator": "cpu"}))
    try:
        hypercolumns.train(**settings, seed=1)
    except hypercolumns.HypercolumnsError as error:
        with open(f"rank{os.environ['LOCAL_RANK']}.txt", "w") as file:  # the ranks' lines on stdout can mix
            print(run.metrics["images"], error, file=file)
"""


@pytest.mark.slow(seconds=20)
def test_script_runs_in_two_processes(tmp_path):
    (tmp_path / "script.py").write_text(SCRIPT.replace("SETTINGS", repr(QUICK)))
    run = subprocess.run([sys.executable, "script.py"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    message = "2 trainer.devices=1 asks for 1 processes, but an earlier training of this program has started 2"
    for rank in range(2):
        assert (tmp_path / f"rank{rank}.txt").read_text().startswith(message)
