"""Every setting of train.py, one line each: which stages take it, what it decides, and how it is checked.

A default and its meaning stand in `conf/`. All else is derived from a setting's line here: the checks, the identity of
runs, the columns of TensorBoard's table, which values are taken as they are typed, which stages refuse it, and
docs/settings.md.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from hypercolumns.errors import (
    HypercolumnsError,
    check_bool,
    check_folder_name,
    check_fraction,
    check_int,
    check_number,
)

Check = Callable[[str, Any], None]
Config = Mapping[str, Any]

MISSING = object()  # the neutral value of a setting that has none

COMPARE, EVALUATE, VALIDATE = ("compare",), ("evaluate",), ("validate",)
EXTRACT, PRETRAIN, TRAIN, RANK = ("extract",), ("pretrain",), ("train",), ("rank_taps",)
FITTING = (*PRETRAIN, *TRAIN)  # stages that train
SAMPLED = (*EXTRACT, *FITTING, *RANK, "verify")  # stages that make a store of samples, or find one
SCORING = (*FITTING, *EVALUATE)  # stages that score images
ON_MACHINE = (*EXTRACT, *FITTING, *EVALUATE)  # stages that several processes can share
IMAGES = (*SAMPLED, *EVALUATE, *VALIDATE)  # stages that read images
EVERY = (*IMAGES, *COMPARE)
IN_ALL = (*EXTRACT, *FITTING)  # stages that stage=all runs
STAGES = ("all", *EVERY)

# What a setting decides where it is not, by its value, a part of the identity of a stage's runs.
NOTHING = "nothing"  # where things lie, how fast it goes, what is shown
FEATURES = "features"  # the hypercolumns, which are identified by what they are made of
INPUT = "input"  # which store or model a stage takes, which is identified by its contents
SCORES = "scores"  # how a finished run is scored, which is written beside its scores


@dataclass(frozen=True)
class Setting:
    """What is known of a setting beside its default and its meaning.

    Attributes:
        name: as on the command line; the entries of a group need a line only if more is to be said of them.
        stages: that take it; empty for an entry: those of its group. What extract, pretrain or train takes, all does.
        decides: the stages whose results its value decides, or what else it decides.
        check: raises ArgumentError for a value that can't be.
        neutral: the value at which it changes nothing, and is left out of identities.
        when: whether it has an effect at all with the other settings; where not, it is left out of identities.
        path: whether its value is a path or a pattern, which is taken as it is typed.
        column: its name in TensorBoard's table of hyperparameters, if it has a column.
    """

    name: str
    stages: tuple[str, ...]
    decides: tuple[str, ...] | str
    check: Check | None = None
    neutral: Any = MISSING
    when: Callable[[Config], bool] | None = None
    path: bool = False
    column: str | None = None


def optional(check: Check) -> Check:
    """The same check, which lets null pass."""
    return lambda name, value: None if value is None else check(name, value)


def at_least(minimum: int) -> Check:
    """A check for an integer of at least `minimum`."""
    return lambda name, value: check_int(name, value, minimum)


def below(limit: float) -> Check:
    """A check for a number from 0 up to, but not including, `limit`."""
    return lambda name, value: check_number(name, value, below=limit)


def one_of(*values: str) -> Check:
    """A check for one of some words."""

    def check(name: str, value: object) -> None:
        if value not in values:
            raise HypercolumnsError(f"{name}={value} must be {' or '.join(values)}")

    return check


def group(name: str, value: object) -> None:
    """Check that a group of settings is one.

    Raises:
        HypercolumnsError: for a single value.
    """
    if value and not isinstance(value, Mapping):
        raise HypercolumnsError(f"{name}={value} is a group of settings; set one of them, {name}.<name>=...")


def needed_group(name: str, value: object) -> None:
    """Check that a group of settings is one, and not null.

    Raises:
        HypercolumnsError: for a single value, and null.
    """
    group(name, value or "null")


def callbacks(name: str, value: Any) -> None:
    """Check that each callback is a group of settings.

    Raises:
        HypercolumnsError: for a single value.
    """
    for entry, settings in (value or {}).items():
        if not isinstance(settings, Mapping):
            raise HypercolumnsError(
                f"{name}.{entry}={settings} is a group of settings; set one of them, {name}.{entry}.<name>=..., or "
                f"leave it out, ~{name}.{entry}"
            )


def metric_of_val(name: str, value: object) -> None:
    """Check the metric that tells the best epoch.

    Raises:
        HypercolumnsError: unless it is one of the val images.
    """
    if value is None:
        raise HypercolumnsError(f"{name}=null: a training needs a figure to tell its best epoch by, such as val/loss")
    if not str(value).startswith("val/"):
        raise HypercolumnsError(f"{name}={value} must be a figure of the val images, such as val/loss")


MAX_LR = 1e30  # no optimizer takes more; float32 ends at 3e38


def trains_backbone(cfg: Config) -> bool:
    """Whether stage train trains the backbone too."""
    return bool(cfg["cnn"]["trainable"])


def samples_pixels(cfg: Config) -> bool:
    """Whether the sampler chooses the pixels of stage train."""
    return bool(cfg["pixels"] == "sampler")


SETTINGS = (
    Setting("stage", EVERY, NOTHING, column="stage"),
    Setting("experiment", SAMPLED, NOTHING),
    Setting("search", EVERY, NOTHING),
    Setting("runs", EVERY, NOTHING, path=True),
    Setting("overwrite", (*ON_MACHINE, *RANK), NOTHING, check_bool),
    Setting("last_stage", ("all",), NOTHING, one_of("pretrain", "train")),
    Setting("seed", (*SAMPLED, *EVALUATE, *COMPARE), (*FITTING, *RANK), at_least(0), column="seed"),
    # images
    Setting("data", IMAGES, FEATURES),
    Setting("data.root", (), FEATURES, path=True),
    Setting("data.classes", (), FEATURES, path=True),
    Setting("data.palette", (), FEATURES, path=True),
    Setting("data.images", (), FEATURES, path=True),
    Setting("data.masks", (), FEATURES, path=True),
    Setting("data.train", (), FEATURES, path=True),
    Setting("data.val", (), FEATURES, path=True),
    Setting("data.group_pattern", (), FEATURES, path=True),
    Setting("data.val_group", (), FEATURES, column="data.val_group"),
    Setting("data.train_subset", (), FEATURES, column="data.train_subset"),
    Setting("data.max_invalid", (), FEATURES, check_fraction),
    Setting("data.on_bad", (), FEATURES, one_of("error", "skip")),
    Setting("max_pixels", IMAGES, NOTHING, at_least(1)),
    Setting("num_workers", IMAGES, NOTHING, at_least(0)),
    # hypercolumns
    Setting("cnn", (*SAMPLED, *EVALUATE), FEATURES),
    Setting("cnn.name", (), FEATURES, check_folder_name, column="cnn"),
    Setting("cnn.weights", (), FEATURES, path=True),
    Setting("cnn.trainable", (), FEATURES, column="cnn.trainable"),
    Setting("alignment", SAMPLED, FEATURES, column="alignment"),
    Setting("resize", SAMPLED, FEATURES, column="resize"),
    Setting("max_window_pixels", (*SAMPLED, *EVALUATE), NOTHING, at_least(1)),
    Setting("compile", (*SAMPLED, *EVALUATE), NOTHING, check_bool),
    # samples
    Setting("sampler", SAMPLED, TRAIN, when=samples_pixels, column="sampler"),
    Setting("extract", SAMPLED, INPUT, needed_group),
    Setting("samples", SAMPLED, INPUT, path=True),
    Setting("model", (*SAMPLED, *EVALUATE), INPUT, path=True),
    Setting("embedding", EXTRACT, NOTHING, at_least(0)),
    # the machine
    Setting("trainer", ON_MACHINE, FITTING),
    Setting("trainer.accelerator", (), NOTHING),
    Setting("trainer.devices", (), NOTHING),
    Setting("trainer.num_nodes", (), NOTHING),
    Setting("trainer.strategy", (), NOTHING),
    # training
    Setting("trainer.max_epochs", FITTING, FITTING, at_least(1), column="epochs"),
    Setting("trainer.log_every_n_steps", FITTING, NOTHING, at_least(1)),
    Setting("trainer.accumulate_grad_batches", FITTING, FITTING, at_least(1)),
    Setting("trainer.check_val_every_n_epoch", FITTING, FITTING, at_least(1)),
    Setting("trainer.limit_train_batches", FITTING, FITTING, optional(check_number)),
    Setting("trainer.limit_val_batches", FITTING, FITTING, optional(check_number)),
    Setting("classifier", FITTING, FITTING, column="classifier"),
    Setting("classifier.hidden", (), FITTING, column="classifier.hidden"),
    Setting("loss", FITTING, FITTING, neutral={"kind": "cross_entropy", "label_smoothing": 0.0}, column="loss"),
    Setting("class_weights", FITTING, FITTING, column="class_weights"),
    Setting("optimizer", FITTING, FITTING, column="optimizer"),
    Setting("optimizer.lr", (), FITTING, below(MAX_LR), column="lr"),
    Setting("optimizer.weight_decay", (), FITTING, below(MAX_LR)),
    Setting("optimizer.momentum", (), FITTING, below(MAX_LR)),
    Setting("optimizer.backbone_lr", (), TRAIN, neutral=None, when=trains_backbone),
    Setting("optimizer.layer_decay", (), TRAIN, neutral=None, when=trains_backbone),
    Setting("optimizer.no_decay_norm_and_bias", (), FITTING, neutral=False),
    Setting("scheduler", FITTING, FITTING, column="scheduler"),
    Setting("batch_size", FITTING, FITTING, at_least(1), column="batch_size"),
    Setting(
        "ema", FITTING, FITTING, optional(lambda name, value: check_number(name, value, below=1)), None, column="ema"
    ),
    Setting("patience", FITTING, FITTING, optional(at_least(1))),
    Setting("monitor", FITTING, FITTING, metric_of_val),
    Setting("checkpoint_minutes", FITTING, NOTHING, check_number),
    Setting("logger", SCORING, NOTHING),
    Setting("callbacks", FITTING, NOTHING, callbacks),
    Setting("images_per_batch", PRETRAIN, PRETRAIN, neutral=None, column="images_per_batch"),
    Setting("val_images", PRETRAIN, SCORES),
    Setting("init_from", TRAIN, INPUT, path=True),
    Setting("pixels", TRAIN, TRAIN, column="pixels"),
    Setting("augment", TRAIN, TRAIN, group, column="training.augment"),
    Setting("augment.grayscale", (), TRAIN, neutral=0.0),
    Setting("augment.gaussian_blur", (), TRAIN, neutral=0.0),
    Setting("wise_ft_alpha", TRAIN, TRAIN, optional(check_fraction), neutral=None, column="wise_ft_alpha"),
    # scores
    Setting("boundary_width", SCORING, SCORES, at_least(1)),
    Setting("bootstrap_samples", (*SCORING, *COMPARE), SCORES, at_least(0)),
    Setting("group_pattern", (*SCORING, *COMPARE), SCORES, path=True),
    Setting("split", EVALUATE, SCORES),
    Setting("predictions", EVALUATE, SCORES, path=True),
    Setting("masks", EVALUATE, SCORES, path=True),
    Setting("tta", EVALUATE, SCORES),
    Setting("evaluation", COMPARE, INPUT, path=True),
    Setting("baseline", COMPARE, INPUT, path=True),
    Setting("rank", RANK, RANK, needed_group),
    Setting("rank.components", (), RANK, at_least(1)),
    Setting("rank.samples", (), RANK, at_least(1)),
    Setting("rank.max_taps", (), RANK, optional(at_least(1))),
    Setting("rank.max_channels", (), RANK, optional(at_least(1))),
)
BY_NAME = {setting.name: setting for setting in SETTINGS}


def stages_of(name: str) -> tuple[str, ...]:
    """The stages that take a setting; all of them if nothing is known of it.

    Args:
        name: of a setting, or of an entry of a group.
    """
    while name:
        setting = BY_NAME.get(name)
        if setting is not None and setting.stages:
            return (*setting.stages, "all") if set(setting.stages) & set(IN_ALL) else setting.stages
        name = name.rpartition(".")[0]
    return STAGES


def setting_of(override: str) -> str:
    """The name of the setting that an override sets, such as `optimizer.lr` of `++optimizer.lr=1e-3`."""
    return override.lstrip("+~").partition("=")[0].partition("@")[0]


def taken(stage: str, overrides: list[str]) -> list[str]:
    """Those overrides that a stage takes."""
    return [override for override in overrides if stage in stages_of(setting_of(override))]


def not_taken(name: str, stage: str) -> str:
    """What a user is told of a setting that a stage does not take."""
    return f"{name} is not a setting of stage={stage}, but of {', '.join(stages_of(name))}; leave it out here"


def top_level(stage: str) -> Iterator[str]:
    """The names of the settings and groups that the config of a stage has."""
    for setting in SETTINGS:
        if (
            "." not in setting.name
            and setting.name not in ("experiment", "search")
            and stage in stages_of(setting.name)
        ):
            yield setting.name
