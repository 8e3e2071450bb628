"""Every YAML file composes, and every object that it describes can be built."""

import functools
import inspect
import json
import re
from dataclasses import fields

import pytest
import torch
from helpers import small_runs
from helpers.paths import CONF, ROOT
from helpers.quick import RememberedChoices
from hydra._internal import config_loader_impl
from hydra.utils import get_object
from omegaconf import OmegaConf

import hypercolumns
from hypercolumns.data.labelling import LabelSettings
from hypercolumns.errors import HypercolumnsError
from hypercolumns.io.decoding import RULES, ImageDecoding
from hypercolumns.io.files import short_hash
from hypercolumns.settings.check import check_settings
from hypercolumns.settings.compose import PARTS, part
from hypercolumns.settings.data import Subset
from hypercolumns.settings.docs_page import page
from hypercolumns.settings.fingerprint import result_settings, store_fingerprint
from hypercolumns.settings.schema import (
    CONFIG_GROUPS,
    FEATURES,
    INPUT,
    NOTHING,
    SCORES,
    SETTINGS,
    STAGES,
    not_taken,
    stages_of,
)
from hypercolumns.settings.training import loss, optimization, trainer
from hypercolumns.tasks.param_groups import ParamGroupConfig

NEEDED = {"cnn=timm": ["cnn.model=resnet18"]}  # settings without a default
OPTIONS = sorted(
    f"{path.parent.relative_to(CONF).as_posix()}={path.stem}"
    for path in CONF.glob("*/*.yaml")
    if path.stem[0] != "_" and path.parent.name != "base"
)
RATES = {field.name for field in fields(ParamGroupConfig)}
composed = functools.partial(small_runs.config, "train")


def test_there_are_options():
    assert len(OPTIONS) > 15


@pytest.mark.parametrize("option", [option for option in OPTIONS if option.startswith("stage=")])
def test_every_stage_composes(option):
    assert plain(option)["stage"] == option.removeprefix("stage=")


@pytest.mark.parametrize("option", [option for option in OPTIONS if option.startswith("experiment=")])
@pytest.mark.parametrize("stage", ["all", "extract", "pretrain", "train"])  # no experiment has a file for the others
def test_every_experiment_composes(option, stage):
    assert plain(option, f"stage={stage}")["stage"] == stage


@pytest.mark.parametrize("option", [option for option in OPTIONS if not option.startswith(("stage=", "experiment="))])
def test_every_target_takes_its_settings(option):
    group = option.partition("=")[0]
    config = plain(option, "stage=train", *NEEDED.get(option, ()))
    assert config["stage"] == "train"
    parts = [config[group]] if "_target_" in config[group] else filter(is_part, config[group].values())
    for settings in parts:
        target = get_object(settings.pop("_target_"))
        settings.pop("_partial_", None)
        if group in PARTS:
            named = OmegaConf.load(CONF / group / f"{settings.pop('kind')}.yaml")
            assert get_object(named._target_) is target
        if group == "cnn":
            settings = {name: value for name, value in settings.items() if name not in ("name", "model")}
        if group == "optimizer":  # `optimization` takes the rates out
            settings = {name: value for name, value in settings.items() if name not in RATES}
        if group == "data":
            for kind in (Subset, LabelSettings):
                given = kind(**{name: settings.pop(name) for name in kind.__dataclass_fields__})
                defaults = {"data=shapes": {"missing_classes": "allow"}}.get(option, {})
                if kind is Subset or option in ("data=folder", "data=voc", "data=shapes"):
                    assert given == kind(**{name: value for name, value in defaults.items() if hasattr(kind, name)})
            assert ImageDecoding(**{name: settings.pop(name) for name in RULES}) == ImageDecoding()
        assert settings.keys() <= inspect.signature(target).parameters.keys()


def plain(*overrides):
    return OmegaConf.to_container(composed(*overrides), resolve=True)


def is_part(value):
    return isinstance(value, dict)


@pytest.mark.parametrize("kind", ["adamw", "adam", "sgd"])
@pytest.mark.parametrize("decay", ["constant", "cosine", "poly"])
def test_optimizers_and_schedules_are_built(kind, decay):
    arguments = optimization(composed(f"optimizer={kind}", f"scheduler={decay}", "optimizer.lr=0.5"))
    optimizer = arguments["optimizer"]([torch.zeros(1, requires_grad=True)])
    assert arguments["scheduler"](optimizer, 10).get_last_lr() == [0.5]
    assert arguments["param_groups"] == ParamGroupConfig()


@pytest.mark.parametrize(
    ("make", "setting"),
    [
        (lambda cfg: loss(cfg, None), "loss.keep_ratio=2"),
        (optimization, "optimizer.layer_decay=2"),
        (lambda cfg: optimization(cfg)["scheduler"](None, 10), "scheduler.warmup_fraction=2"),
        (lambda cfg: optimization(cfg)["scheduler"](None, 10), "scheduler.min_lr_ratio=2"),
        (lambda cfg: trainer(cfg, None, None, None, None), "callbacks.prediction_panels.fixed=-1"),
        (check_settings, "ema=2"),
    ],
)
def test_error_names_setting(make, setting):
    with pytest.raises(HypercolumnsError, match=rf"^{re.escape(setting)} must be "):
        make(composed("loss=ohem", setting))


@pytest.mark.parametrize("kind", sorted(path.stem for path in CONF.glob("loss/*.yaml")))
def test_losses_are_built(kind):
    loss = part("loss", composed(f"loss={kind}").loss)
    assert loss(torch.eye(3), torch.tensor([2, 1, 255])) > 0


def test_every_setting_declares_what_it_decides():
    """An undeclared setting would be missing from fingerprints, and different runs would share a folder."""
    known = {NOTHING, FEATURES, INPUT, SCORES}
    for setting in SETTINGS:
        assert setting.decides in known or set(setting.decides) <= set(STAGES) - {"all"}, setting.name
    deciding = {setting.name for setting in SETTINGS if "train" in setting.decides and "." not in setting.name}
    assert deciding == {
        *"seed sampler trainer classifier loss class_weights optimizer scheduler batch_size ema patience".split(),
        *"monitor pixels augment wise_ft_alpha".split(),
    }


@pytest.mark.parametrize("stage", STAGES)
def test_stage_has_the_settings_declared_for_it(stage):
    """The composed config of a stage has exactly the settings that settings.schema declares for the stage."""
    composes = {"experiment", "search"}  # groups that only choose other settings
    declared = {setting.name for setting in SETTINGS if "." not in setting.name and stage in stages_of(setting.name)}
    assert set(composed(f"stage={stage}")) - composes == declared - composes


@pytest.mark.parametrize("stage", STAGES)
def test_every_declared_entry_exists(stage):
    config = composed(f"stage={stage}", *(["pixels=sampler"] if stage == "train" else []))
    options = {"data", "optimizer", "classifier", "augment"}  # groups whose options have different entries
    for setting in SETTINGS:
        group, _, entry = setting.name.rpartition(".")
        if (
            group
            and group not in options
            and stage in stages_of(setting.name)
            and setting.name not in ("trainer.num_nodes", "trainer.strategy", "cnn.model")  # not in every option
        ):
            assert entry in config[group], setting.name


@pytest.mark.parametrize(
    ("stage", "override", "stages"),
    [
        ("extract", "wise_ft_alpha=0.5", "train, all"),
        ("compare", "data.root=x", "extract, .*"),
        ("extract", "trainer.max_epochs=3", "pretrain, train, all"),
        ("evaluate", "experiment=frozen", "extract, .*"),
        ("compare", "cnn=vgg", "extract, .*"),
        ("evaluate", "cnn.context=[coordinates]", "extract, .*"),
        ("pretrain", "optimizer.backbone_lr=1e-3", "train, all"),
    ],
)
def test_setting_of_another_stage_is_refused(stage, override, stages, run_script, tmp_path):
    result = run_script("train.py", f"stage={stage}", override, cwd=tmp_path)
    assert result.returncode == 2
    name = override.partition("=")[0].partition(".")[0]
    assert re.match(rf"error: {name}[.\w]* is not a setting of stage={stage}, but of {stages}", result.stderr), (
        result.stderr
    )


@pytest.mark.parametrize("stage", ["extract", "pretrain", "rank_taps"])
def test_message_names_the_setting_to_use(stage):
    assert not_taken("init_from", stage) == (
        f"init_from is not a setting of stage={stage}, but of train, all; leave out init_from, or give the model by "
        f"cnn.weights"
    )
    assert not_taken("init_from", "evaluate").endswith("leave out init_from")


@pytest.mark.parametrize("option", ["data=_subset", "cnn=_backbone"])
def test_shared_part_is_no_option(option, run_script, tmp_path):
    stage = "train" if option.startswith("cnn") else "validate"
    result = run_script("train.py", f"stage={stage}", option, cwd=tmp_path)
    assert (result.returncode, result.stderr) == (
        2,
        f"error: {option} only holds settings that other files in conf/{option.partition('=')[0]} include; "
        "choose another file\n",
    )


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ("kind: mine\n_target_: hypercolumns.samplers.UniformSampler\nn: ${batch_size}", "data.root=data holds no "),
        ("defaults: [uniform]\nkind: mine", "sampler: kind=mine needs a file conf/sampler/mine.yaml with a _target_; "),
        ("_target_: hypercolumns.samplers.UniformSampler", "sampler: .*UniformSampler needs a kind; add kind: "),
        (
            "_target_: hypercolumns.samplers.UniformSampler\nkind: boundary",
            "sampler: kind=boundary belongs to .*BoundarySampl",
        ),
    ],
)
def test_kind_must_match_the_file_of_its_target(settings, message, run_script, tmp_path):
    (tmp_path / "sampler").mkdir()
    (tmp_path / "sampler/mine.yaml").write_text(settings)
    where = f"hydra.searchpath=[{tmp_path}]"
    result = run_script("train.py", "stage=train", "pixels=sampler", "sampler=mine", where, cwd=tmp_path)
    assert result.returncode == 2
    assert re.match(f"error: {message}", result.stderr), result.stderr


def test_settings_page_is_current():
    assert (ROOT / "docs" / "settings.md").read_text() == page(CONF), "run: python -m hypercolumns.settings.docs_page"


@pytest.mark.parametrize("stage", ["extract", "pretrain", "train"])
def test_renamed_class_keeps_fingerprint(stage, monkeypatch):
    """Fingerprints name a part by its kind, so runs and stores are found again after its class has moved."""
    parts = {
        "extract": ["sampler"],
        "pretrain": ["classifier", "loss", "optimizer", "scheduler", "trainer"],
        "train": ["sampler", "classifier", "loss", "optimizer", "scheduler", "trainer"],
    }[stage]
    chosen = {"extract": [], "pretrain": ["loss=cross_entropy_dice"], "train": ["pixels=sampler", "loss=dice"]}[stage]
    config = composed(f"stage={stage}", *chosen)

    def fingerprint():
        settings = store_fingerprint(config, {}) if stage == "extract" else result_settings(config, stage)
        assert "_target_" not in json.dumps(settings)
        return short_hash(settings)

    before = fingerprint()
    for group in parts:
        name = config[group]._target_.rpartition(".")[2]
        monkeypatch.setattr(hypercolumns, f"Renamed{name}", get_object(config[group]._target_), raising=False)
        config[group]._target_ = f"hypercolumns.Renamed{name}"
    if stage == "pretrain":
        monkeypatch.setattr(hypercolumns, "RenamedDice", get_object(config.loss.losses.dice._target_), raising=False)
        config.loss.losses.dice._target_ = "hypercolumns.RenamedDice"
    assert fingerprint() == before


@pytest.mark.parametrize(
    ("stage", "override", "entry"),
    [
        ("train", "pixels=sampler", ("sampler", {"kind": "per_class", "n": 3})),
        ("pretrain", "images_per_batch=2", ("images_per_batch", 2)),
        ("train", "wise_ft_alpha=0.5", ("wise_ft_alpha", 0.5)),
        ("pretrain", "loss=dice", ("loss", {"kind": "dice"})),
    ],
)
def test_ineffective_setting_decides_nothing(stage, override, entry):
    """A setting at its neutral value, or without effect because of another setting, is left out of the fingerprint."""
    before, after = (result_settings(composed(f"stage={stage}", *overrides), stage) for overrides in ([], [override]))
    name, value = entry
    assert after.pop(name) == value
    assert name not in before
    assert after | {"pixels": "all"} == before | {"pixels": "all"}


def test_small_runs_compose_like_the_command_line():
    overrides = [
        "stage=train",
        "experiment=finetune",
        "~search",
        "cnn.context=[local_mean:3]",
        "+trainer.x=1",
        "~callbacks.prediction_panels",
    ]
    assert composed(*overrides) == small_runs.composed("train", *overrides)


def test_remembered_choices_are_those_of_hydra(monkeypatch):
    compose = small_runs.composed.__wrapped__
    commands = [["cnn=rgb", "seed=1"], ["cnn=rgb", "seed=2", "~search"], ["cnn=vgg", "seed=1", "experiment=finetune"]]
    remembered = [compose("train", *overrides) for overrides in [*commands, *commands]]
    loader = config_loader_impl.ConfigLoaderImpl
    monkeypatch.setattr(config_loader_impl, "create_defaults_list", RememberedChoices.find)
    monkeypatch.setattr(loader, "_compose_config_from_defaults_list", RememberedChoices.merge)
    assert remembered == 2 * [compose("train", *overrides) for overrides in commands]


def test_each_file_opens_with_a_comment():
    for path in CONF.rglob("*.yaml"):
        lines = [line for line in path.read_text().splitlines() if not line.startswith("# @package")]
        assert lines[0].startswith("# "), path


def test_original_experiment_follows_the_protocol():
    pretrain, train = (composed("experiment=original", f"stage={stage}") for stage in ("pretrain", "train"))
    for config in (pretrain, train):
        assert (config.resize, config.alignment, config.sampler.n) == ([224, 224], "corners", 3)
        assert config.optimizer._target_ == "torch.optim.Adam"
        assert config.optimizer.lr == 1e-3
    assert (train.batch_size, train.class_weights, train.trainer.max_epochs) == (2, "batch", 10)
    assert not any(train.augment.values())


def test_recipes_differ_only_in_stage_train():
    """The stages before train are the same in all recipes; only one recipe trains the backbone."""
    recipes = ("frozen", "complete", "finetune")
    EXTRACT = {"augmentations": 1, "color_jitter": 0.5, "grayscale": 0.1, "gaussian_blur": 0.1}
    pretrain = [composed(f"experiment={name}", "stage=pretrain") for name in recipes]
    extract = [composed(f"experiment={name}", "stage=extract") for name in recipes]
    for config in extract:
        assert (config.sampler.n, config.extract) == (500, EXTRACT)
    assert all(config.cnn.context == ["local_mean:7"] for config in extract + pretrain)
    assert all(result_settings(config, "pretrain") == result_settings(pretrain[0], "pretrain") for config in pretrain)
    everything = [composed(f"experiment={name}") for name in (*recipes, "best")]
    assert [config.last_stage for config in everything] == ["pretrain", "train", "train", "train"]
    assert [config.second_pass for config in everything] == [True, False, True, True]
    assert [config.trainings for config in everything] == [1, 1, 1, 3]
    complete, finetune = (composed(f"experiment={name}", "stage=train") for name in recipes[1:])
    assert (complete.cnn.trainable, complete.pixels) == (0, "all")
    assert (finetune.cnn.trainable, finetune.pixels) == (4, 700)
    assert (complete.ema, complete.scheduler.min_lr_ratio) == (0.99, 0)
    assert (finetune.ema, finetune.scheduler.min_lr_ratio) == (0.999, 1)
    decays = [
        composed("experiment=finetune", "stage=train", f"scheduler={name}").scheduler for name in ("cosine", "poly")
    ]
    assert [(decay.kind, decay.min_lr_ratio) for decay in decays] == [("cosine", 0), ("poly", 0)]
    assert finetune.trainer.max_epochs == finetune.trainer.check_val_every_n_epoch == 16
    longer = composed("experiment=finetune", "stage=train", "trainer.max_epochs=24")
    assert longer.trainer.check_val_every_n_epoch == 24
    assert (complete.wise_ft_alpha, finetune.wise_ft_alpha) == (None, None)


@pytest.mark.parametrize("experiment", ["original", "frozen", "complete", "finetune", "best"])
@pytest.mark.parametrize(
    ("stage", "option"), [("train", "classifier=linear"), ("train", "classifier=grid"), ("extract", "sampler=boundary")]
)
def test_chosen_part_replaces_the_recipes(experiment, stage, option):
    """An experiment chooses parts by their files, so the file that a command chooses is used with its own values."""
    group = option.partition("=")[0]
    assert plain(f"stage={stage}", f"experiment={experiment}", option)[group] == plain(f"stage={stage}", option)[group]


def test_best_is_finetune_three_times():
    for stage in ("extract", "pretrain", "train"):
        best, finetune = (composed(f"experiment={name}", f"stage={stage}") for name in ("best", "finetune"))
        assert best.data.range == ["2%", "98%"]
        assert best == finetune


def test_config_groups_are_the_folders_of_conf():
    assert {*CONFIG_GROUPS} == {path.name for path in CONF.iterdir() if path.is_dir()} - {"base"}
