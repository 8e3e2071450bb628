"""Stage all, which runs the other stages one after another, on a tiny data set.

The first tests have no command line: stage all gets only the settings of the config.
"""

import json
from pathlib import Path

import pytest
import torch
from helpers.small_runs import RGB, config
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf
from safetensors.torch import load_file

import hypercolumns
from hypercolumns import HypercolumnsError
from hypercolumns.io.files import file_hash, read_json
from hypercolumns.runs.run import Run
from hypercolumns.runs.trained_run import TrainedRun
from hypercolumns.settings import compose
from hypercolumns.settings.schema import taken
from hypercolumns.stages import all as all_stages
from hypercolumns.stages import run_stage
from hypercolumns.sweeps.jobs import job_metrics
from hypercolumns.sweeps.search import search

pytestmark = pytest.mark.usefixtures("place")


def compose_stage(overrides, stage, inputs):
    others = [override for override in overrides if not override.startswith("stage=")]
    composed = config("train", *taken(stage, others), f"stage={stage}")
    composed.update(inputs)
    return composed


def test_named_store_is_made_once_then_read(place, monkeypatch):
    overrides = [*RGB, "stage=all", "samples=mine", "trainer.max_epochs=1", "data.train_images=6"]
    monkeypatch.setattr(compose, "overrides", lambda: overrides)
    monkeypatch.setattr(all_stages, "compose_stage", lambda stage, **inputs: compose_stage(overrides, stage, inputs))
    run_stage(config("train", *overrides))
    before = {path: path.stat().st_mtime_ns for path in (place / "mine").iterdir()}
    assert (place / "mine" / "index.json").is_file()
    assert not (place / "runs/shapes/rgb/samples").exists()
    overrides.append("sampler.n=5")  # only stage extract reads this, and the store exists
    run_stage(config("train", *overrides))
    assert {path: path.stat().st_mtime_ns for path in (place / "mine").iterdir()} == before


def test_last_stage_pretrain_skips_train(place, monkeypatch):
    overrides = [*RGB, "stage=all", "last_stage=pretrain", "trainer.max_epochs=1", "data.train_images=12"]
    monkeypatch.setattr(compose, "overrides", lambda: overrides)
    monkeypatch.setattr(all_stages, "compose_stage", lambda stage, **inputs: compose_stage(overrides, stage, inputs))
    miou = run_stage(config("train", *overrides))
    assert miou == json.loads((place / "runs/shapes/rgb/pretrain/latest/metrics.json").read_text())["miou"]
    assert not (place / "runs/shapes/rgb/train").exists()
    with pytest.raises(HypercolumnsError, match=r"last_stage=extract must be pretrain or train"):
        run_stage(config("train", *overrides, "last_stage=extract"))


def test_monitor_goes_to_the_stage_that_has_it(place, monkeypatch):
    """Also the metric of only one stage can choose the best epoch; the other stage keeps its default."""
    overrides = [*RGB, "stage=all", "trainer.max_epochs=1", "data.train_images=6", "monitor=val/miou_present"]
    monkeypatch.setattr(compose, "overrides", lambda: overrides)
    monkeypatch.setattr(all_stages, "compose_stage", lambda stage, **inputs: compose_stage(overrides, stage, inputs))
    with pytest.raises(HypercolumnsError, match=r"monitor=val/miou_present is not a metric of stage pretrain; choose"):
        run_stage(config("train", *overrides, "last_stage=pretrain"))
    assert not (place / "runs").exists()
    run_stage(config("train", *overrides))
    runs = place / "runs/shapes/rgb"
    chosen = [json.loads((runs / stage / "latest/metrics.json").read_text()) for stage in ("pretrain", "train")]
    assert "sample_miou" in chosen[0]
    assert "val/miou_present" in (runs / "train/latest/config.yaml").read_text()


def test_init_from_leaves_out_other_stages(place, monkeypatch, capsys):
    overrides = [*RGB, "stage=all", "init_from=scratch", "trainer.max_epochs=1", "data.train_images=12"]
    monkeypatch.setattr(compose, "overrides", lambda: overrides)
    monkeypatch.setattr(all_stages, "compose_stage", lambda stage, **inputs: compose_stage(overrides, stage, inputs))
    run_stage(config("train", *overrides))
    assert "all: init_from=scratch leaves out the stages extract and pretrain" in capsys.readouterr().out
    assert sorted(path.name for path in (place / "runs/shapes/rgb").iterdir()) == ["events", "train"]
    with pytest.raises(HypercolumnsError, match=r"init_from=scratch names the start .*; add last_stage=train, or"):
        run_stage(config("train", *overrides, "last_stage=pretrain"))
    overrides[overrides.index("init_from=scratch")] = "init_from=runs/shapes/rgb/train/latest"
    with pytest.raises(HypercolumnsError, match=r"give cnn\.weights=runs/shapes/rgb/train/latest/model\.safetens"):
        run_stage(config("train", *overrides, "last_stage=pretrain"))


def test_train_starts_from_the_run_of_the_command(place, monkeypatch):
    overrides = [*RGB, "stage=all", "trainer.max_epochs=1", "data.train_images=12"]
    monkeypatch.setattr(compose, "overrides", lambda: overrides)
    monkeypatch.setattr(all_stages, "compose_stage", lambda stage, **inputs: compose_stage(overrides, stage, inputs))
    run_stage(config("train", *overrides))
    fingerprint = json.loads((place / "runs/shapes/rgb/train/latest/run.json").read_text())["fingerprint"]
    assert fingerprint["start"]["model"] == file_hash(place / "runs/shapes/rgb/pretrain/latest/model.safetensors")[:16]


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("cnn.drop_path=0.1", r"^cnn\.drop_path=0\.1 is for networks of timm, .*; set cnn\.drop_path=null$"),
        (
            "cnn.grad_checkpointing=true",
            r"^cnn\.grad_checkpointing=true is .*graph.*; set cnn\.grad_checkpointing=false",
        ),
        ("cnn=timm cnn.model=test_vit cnn.trainable=9", r"^cnn\.trainable=9 must be a number of taps, from 0 to 6"),
        ("cnn=timm cnn.model=test_vit_relpos", r"^augment\.crop and augment\.scale do not fit timm/test_vit_relpos"),
    ],
)
def test_fine_tuning_is_checked_first(place, monkeypatch, override, message):
    overrides = ["data=shapes", "data.train_images=6", "cnn=sqn", "stage=all", *override.split()]
    monkeypatch.setattr(compose, "overrides", lambda: overrides)
    monkeypatch.setattr(all_stages, "compose_stage", lambda stage, **inputs: compose_stage(overrides, stage, inputs))
    with pytest.raises(HypercolumnsError, match=message):
        run_stage(config("train", *overrides))
    assert not (place / "runs").exists()


def steps(**more):
    """Run stage all as a command would, with configs that Hydra composes, and return its run."""
    settings = {"data": "shapes", "data__train_images": 12, "data__val_images": 3, "cnn": "rgb", "num_workers": 0}
    settings |= {"sampler__n": 30, "classifier__hidden": 8, "embedding": 0, "refine__steps": 20, "refine__pixels": 50}
    settings |= {"augment": {"scale": None, "crop": 96, "color_jitter": 0.1}}
    settings |= {"trainer": {"max_epochs": 1, "accelerator": "cpu"}}
    return hypercolumns.train(**settings | more)


def test_trainings_are_averaged_then_refined():
    run = steps(trainings=2, second_pass=True, seed=4, cnn="sqn", cnn__weights=None, cnn__taps=["features.0"])
    runs = Path("runs/shapes/sqn")
    assert run.folder.samefile(runs / "refine/latest")
    assert run.history == []
    averaged = read_json(runs / "average/latest/metrics.json")
    assert Path(run.metrics["evaluated"]["model"]).samefile(runs / "average/latest/model.safetensors")
    assert run.metrics["first_pass"]["miou"] == averaged["miou"]
    trained = sorted(path for path in (runs / "train").iterdir() if not path.is_symlink())
    assert sorted(map(str, trained)) == sorted(str(Path(path).parent) for path in averaged["evaluated"]["models"])
    configs = [OmegaConf.load(path / "config.yaml") for path in trained]
    # The seed changes the training alone: the random weights of the network are those of the first seed.
    assert sorted((config.seed, config.cnn.seed) for config in configs) == [(4, 4), (5, 4)]
    starts = [read_json(path / "run.json")["fingerprint"]["start"] for path in trained]
    assert starts[0] == starts[1]
    states = [load_file(path / "model.safetensors") for path in trained]
    for name, mean in load_file(runs / "average/latest/model.safetensors").items():
        torch.testing.assert_close(mean, (states[0][name] + states[1][name]) / 2)


def test_sweep_job_trains_from_its_own_pretrained(monkeypatch):
    """The store has the seed of the job, and not that of the second training."""
    monkeypatch.setattr(compose, "is_sweep_job", lambda: True)
    averaged = steps(trainings=2, seed=4, data__train_images=4, data__val_images=1)
    runs = [Path(path).parent for path in averaged.metrics["evaluated"]["models"]]
    assert sorted(OmegaConf.load(run / "config.yaml").seed for run in runs) == [4, 5]
    starts = {read_json(run / "run.json")["fingerprint"]["start"]["model"] for run in runs}
    assert starts == {file_hash(Path("runs/shapes/rgb/pretrain/latest/model.safetensors"))[:16]}
    seconds = sum(epoch["seconds"] for run in runs for epoch in TrainedRun(run).history)
    assert job_metrics(Run(averaged.folder))["seconds"] == pytest.approx(seconds, abs=2e-3)
    (runs[0] / "metrics.json").unlink()  # as in a run that was interrupted
    assert len(TrainedRun(runs[0]).history) == 1


def test_second_pass_is_that_of_stage_refine(place, capsys):
    first = steps(last_stage="pretrain")
    both = steps(last_stage="pretrain", second_pass=True)
    assert capsys.readouterr().out.count("score images: 3 done") == 2  # the first pass is not scored twice
    assert not (place / "runs/shapes/rgb/train").exists()
    assert both.metrics["first_pass"]["miou"] == first.metrics["miou"]
    before = both.model_path.read_bytes()
    data = ["data=shapes", "data.train_images=12", "data.val_images=3", "num_workers=0"]
    refine = ["stage=refine", "refine.steps=20", "refine.pixels=50", f"model={first.folder}"]
    run_stage(config("train", *data, *refine, "overwrite=true"))
    assert both.model_path.read_bytes() == before


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"trainings": 2, "last_stage": "pretrain"}, r"^trainings=2 is a number of trainings .*; add last_stage=train"),
        ({"trainings": 2, "init_from": "scratch"}, r"^init_from=scratch starts with a new classifier, .*trainings=1"),
        ({"trainings": 0}, r"^trainings=0 must be a whole number of at least 1"),
        ({"second_pass": 1}, r"^second_pass=1 must be true or false"),
        ({"refine__hidden": 0}, r"^refine\.hidden=0 must be"),
    ],
)
def test_wrong_steps_are_refused_first(place, more, message):
    with pytest.raises(HypercolumnsError, match=message):
        steps(**more)
    assert not list(place.glob("runs/**/model.safetensors"))


@pytest.mark.parametrize("trainings", ["trainings=2", "trainings=1,2"])
def test_search_refuses_several_trainings(trainings):
    overrides = OverridesParser.create().parse_overrides([trainings, "optimizer.lr=1e-3,1e-2"])
    fixed = [override.input_line for override in overrides if not override.is_sweep_override()]
    message = f"^{trainings} can't be combined with search=optuna, which judges single trainings"
    with pytest.raises(HypercolumnsError, match=message):
        search(config("train", "search=optuna", *fixed), overrides, pytest.fail)


def test_search_refuses_wrong_trainings():
    with pytest.raises(HypercolumnsError, match=r"^trainings=abc must be a whole number"):
        search(config("train", "search=optuna", "trainings=abc"), [], pytest.fail)
