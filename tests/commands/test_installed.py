"""The command `hypercolumns`, which pip installs: it runs in any folder, with the user's own configs."""

import json
import shlex

import pytest
from helpers.small_runs import only

from hypercolumns.commands.conf import CONF

pytestmark = pytest.mark.usefixtures("without_pictures")
QUICK = ["data.train_images=6", "data.val_images=2", "trainer.max_epochs=1", "cnn=rgb", "num_workers=0"]
QUICK += ["classifier.hidden=4"]


def test_all_stages_and_prediction(tmp_path, run_script):
    result = run_script("hypercolumns", "train", "data=shapes", *QUICK, "embedding=0", cwd=tmp_path)
    assert result.returncode == 0
    model = tmp_path / "runs/shapes/rgb/train/latest"
    images = only(tmp_path, "data/*/VOCdevkit/VOC2012/JPEGImages")
    result = run_script("hypercolumns", "predict", f"model={model}", f"images={images}", "out=out", cwd=tmp_path)
    assert result.returncode == 0
    assert len([*(tmp_path / "out").glob("val_*.png")]) == 2


@pytest.mark.parametrize("sweep", [[], pytest.param(["-m"], marks=pytest.mark.slow)])
@pytest.mark.parametrize("where", ["--config-dir={}", "hydra.searchpath=[file://{}]"])
def test_own_configs_serve_all_stages(tmp_path, run_script, where, sweep):
    (tmp_path / "own" / "classifier").mkdir(parents=True)
    (tmp_path / "own" / "classifier" / "small.yaml").write_text("defaults: [mlp]\nhidden: 5\n")
    settings = ["data=shapes", *QUICK[:-1], "embedding=0", "classifier=small"]
    result = run_script("hypercolumns", "train", where.format(tmp_path / "own"), *sweep, *settings, cwd=tmp_path)
    assert (result.returncode, result.stderr) == (0, "")
    assert "hidden: 5" in (tmp_path / "runs/shapes/rgb/train/latest/config.yaml").read_text()
    environment = json.loads((tmp_path / "runs/shapes/rgb/train/latest/environment.json").read_text())
    words = shlex.split(environment["command"])
    assert words[:3] == ["hypercolumns", "train", where.format(tmp_path / "own")]


def test_messages_name_the_command(tmp_path, run_script):
    result = run_script("hypercolumns", "train", "stage=pretrain", "data=shapes", *QUICK, cwd=tmp_path)
    assert result.returncode == 2
    assert "hypercolumns train stage=extract" in result.stderr
    assert "train.py" not in result.stderr


@pytest.mark.parametrize("arguments", [[], ["fit"], ["--help"]])
def test_unknown_program_shows_the_usage(tmp_path, run_script, arguments):
    result = run_script("hypercolumns", *arguments, cwd=tmp_path)
    assert result.returncode == 2
    assert result.stderr.startswith("usage: hypercolumns train|predict SETTING=VALUE ...")


def test_configs_are_found():
    assert (CONF / "train.yaml").is_file()
