"""Every YAML composes, and what it describes can be built."""

import functools
import inspect
import json
from dataclasses import fields

import pytest
import small_runs
import torch
from hydra.utils import get_object
from omegaconf import OmegaConf
from small_runs import CONF

import hypercolumns
from hypercolumns.io.files import short_hash
from hypercolumns.runs import run as runs
from hypercolumns.settings import build
from hypercolumns.tasks.param_groups import ParamGroupConfig

NEEDED = {"cnn=timm": ["cnn.model=resnet18"]}  # settings without a default
OPTIONS = sorted(f"{path.parent.relative_to(CONF).as_posix()}={path.stem}" for path in CONF.glob("*/*.yaml"))
RATES = {field.name for field in fields(ParamGroupConfig)}
composed = functools.partial(small_runs.config, "train")


def test_there_are_options():
    assert len(OPTIONS) > 15


@pytest.mark.parametrize("option", [option for option in OPTIONS if option.startswith("stage=")])
def test_every_stage_composes(option):
    assert plain(option)["stage"] == option.removeprefix("stage=")


@pytest.mark.parametrize("option", [option for option in OPTIONS if option.startswith("experiment=")])
@pytest.mark.parametrize("stage", ["all", "extract", "pretrain", "train"])  # at the others it is as at `all`
def test_every_experiment_composes(option, stage):
    assert plain(option, f"stage={stage}")["stage"] == stage


@pytest.mark.parametrize("option", [option for option in OPTIONS if not option.startswith(("stage=", "experiment="))])
def test_every_target_exists_and_takes_the_settings(option):
    group = option.partition("=")[0]
    config = plain(option, "stage=train", *NEEDED.get(option, ()))
    assert config["stage"] == "train"
    parts = [config[group]] if "_target_" in config[group] else filter(is_part, config[group].values())
    for settings in parts:
        target = get_object(settings.pop("_target_"))
        settings.pop("_partial_", None)
        if group in build.PARTS:
            assert settings.pop("kind") == option.partition("=")[2]
        if group == "cnn":
            settings = {name: value for name, value in settings.items() if name not in ("name", "model")}
        if group == "optimizer":
            settings = {name: value for name, value in settings.items() if name not in RATES}  # `build.optimization`
        if group == "data":
            assert {name: settings.pop(name) for name in build.WHICH_IMAGES} == build.WHICH_IMAGES
        assert settings.keys() <= inspect.signature(target).parameters.keys()


def plain(*overrides):
    return OmegaConf.to_container(composed(*overrides), resolve=True)


def is_part(value):
    return isinstance(value, dict)


@pytest.mark.parametrize("kind", ["adamw", "adam", "sgd"])
@pytest.mark.parametrize("decay", ["constant", "cosine", "poly"])
def test_optimizers_and_schedules_are_built(kind, decay):
    made = build.optimization(composed(f"optimizer={kind}", f"scheduler={decay}", "optimizer.lr=0.5"))
    optimizer = made["optimizer"]([torch.zeros(1, requires_grad=True)])
    assert made["schedule"](optimizer, 10).get_last_lr() == [0.5]
    assert made["rates"] == ParamGroupConfig()


@pytest.mark.parametrize("kind", sorted(path.stem for path in CONF.glob("loss/*.yaml")))
def test_losses_are_built(kind):
    loss = build.part("loss", composed(f"loss={kind}").loss)
    assert loss(torch.eye(3), torch.tensor([2, 1, 255])) > 0


def test_every_setting_either_decides_a_result_or_is_known_not_to():
    """A new setting must be put on one side, or runs of different settings would be taken for one."""
    config = composed("stage=train")
    by_fingerprint = {"data", "resize", "cnn", "alignment"}  # of what they mean, not of how they are spelt
    # By the fingerprint of the store or the hash of the model.
    of_the_input = {"samples", "init_from", "model", "views"}
    without_effect = {
        "stage",
        "until",
        "runs",
        "overwrite",
        "num_workers",
        "max_pixels",
        "logger",
        "callbacks",
        "dense_val",
        "embedding",
        "window",
        "compile",
        "checkpoint_minutes",
        "bootstrap",  # and groups: of the intervals, which are made again from the counts
        "groups",
    }
    of_other_stages = {"split", "predictions", "masks", "tta", "boundary", "evaluation", "baseline"}
    deciding = {name for names in runs.DECIDING.values() for name in names}
    assert deciding | by_fingerprint | of_the_input | without_effect | of_other_stages == set(config)
    assert not deciding & (by_fingerprint | of_the_input | without_effect | of_other_stages)


@pytest.mark.parametrize("stage", ["extract", "pretrain", "train"])
def test_renamed_class_keeps_identity(stage, monkeypatch):
    """A run and a store say a part by its kind: wherever its class moves, they are found again."""
    monkeypatch.setattr(runs.distributed, "device", lambda cfg: torch.device("cpu"))
    config = composed(f"stage={stage}", "pixels=sampler", "loss=cross_entropy_dice")

    def identity():
        made = runs.store_identity(config, {}) if stage == "extract" else runs.result_settings(config, stage)
        assert "_target_" not in json.dumps(made)
        return short_hash(made)

    before = identity()
    for group in ("sampler", "classifier", "loss", "optimizer", "scheduler", "trainer"):
        name = config[group]._target_.rpartition(".")[2]
        monkeypatch.setattr(hypercolumns, f"Renamed{name}", get_object(config[group]._target_), raising=False)
        config[group]._target_ = f"hypercolumns.Renamed{name}"
    config.loss.losses.dice._target_ = "hypercolumns.RenamedDice"
    assert identity() == before


@pytest.mark.parametrize(
    ("stage", "override", "entry"),
    [
        ("train", "pixels=sampler", ("sampler", {"kind": "per_class", "n": 3})),
        ("pretrain", "images_per_batch=2", ("images_per_batch", 2)),
        ("train", "start_share=0.5", ("start_share", 0.5)),
        ("pretrain", "loss=dice", ("loss", {"kind": "dice"})),
    ],
)
def test_settings_that_have_an_effect_only_with_others_decide_only_then(stage, override, entry):
    before, after = (
        runs.result_settings(composed(f"stage={stage}", *overrides), stage) for overrides in ([], [override])
    )
    name, value = entry
    assert after.pop(name) == value
    assert name not in before
    assert after | {"pixels": "all"} == before | {"pixels": "all"}


def test_the_configs_of_tests_are_those_of_the_command_line():
    overrides = [
        "stage=train",
        "experiment=finetune",
        "~search",
        "cnn.context=[window:3]",
        "+trainer.x=1",
        "~callbacks.pictures",
    ]
    assert composed(*overrides) == small_runs.composed("train", *overrides)


def test_each_file_opens_with_a_command():
    for path in CONF.rglob("*.yaml"):
        lines = [line for line in path.read_text().splitlines() if not line.startswith("# @package")]
        assert lines[0].startswith("# "), path


def test_the_original_protocol():
    pretrain, train = (composed("experiment=original", f"stage={stage}") for stage in ("pretrain", "train"))
    for config in (pretrain, train):
        assert (config.resize, config.alignment, config.sampler.n) == ([224, 224], "corners", 3)
        assert config.optimizer._target_ == "torch.optim.Adam"
        assert config.optimizer.lr == 1e-3
    assert (train.batch_size, train.class_weights, train.trainer.max_epochs) == (2, "batch", 10)
    assert not any(train.augment.values())


def test_the_recipes():
    """They share what comes before stage train; only one trains the backbone."""
    recipes = ("frozen", "complete", "finetune")
    pretrain = [composed(f"experiment={name}", "stage=pretrain") for name in recipes]
    extract = [composed(f"experiment={name}", "stage=extract") for name in recipes]
    for config in extract:
        assert (config.sampler.n, config.views) == (
            500,
            {"number": 1, "color_jitter": 0.5, "grayscale": 0.1, "gaussian_blur": 0.1},
        )
    assert all(config.cnn.context == ["window:7"] for config in extract + pretrain)
    assert all(
        runs.result_settings(config, "pretrain") == runs.result_settings(pretrain[0], "pretrain") for config in pretrain
    )
    assert [config.until for config in pretrain] == ["pretrain", "train", "train"]
    complete, finetune = (composed(f"experiment={name}", "stage=train") for name in recipes[1:])
    assert (complete.cnn.trainable, complete.pixels) == (0, "all")
    assert (finetune.cnn.trainable, finetune.pixels) == (4, 700)
    assert (complete.ema, finetune.ema) == (0.99, 0.995)
    assert finetune.trainer.max_epochs == finetune.trainer.check_val_every_n_epoch == 8
    longer = composed("experiment=finetune", "stage=train", "trainer.max_epochs=24")
    assert longer.trainer.check_val_every_n_epoch == 24
    assert (complete.start_share, finetune.start_share) == (None, None)
