"""The declarations of all settings of train.py: the stages that take them, what they decide, and their checks.

The files in `conf/` give the default and the meaning of a setting. All other knowledge about the setting is in its
declaration here. The declarations are used to check values, to make fingerprints, to fill TensorBoard's table of
hyperparameters, to put paths into quotes for Hydra, to refuse settings that a stage does not use, and to list the
stages in docs/settings.md.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from hypercolumns.errors import check_bool, check_folder_name, check_fraction, check_number, check_pattern
from hypercolumns.settings.trainer_checks import check_batches, check_precision, check_strategy, check_trainer
from hypercolumns.settings.value_checks import (
    Check,
    at_least,
    below,
    check_callbacks,
    check_class_weights,
    check_group,
    check_image_size,
    check_metric_of_val,
    check_models,
    check_needed_group,
    check_number_of_images,
    check_optimizer_number,
    check_pixels,
    check_timm_model,
    one_of,
    optional,
)

Config = Mapping[str, Any]

MISSING = object()  # `Setting.neutral` of settings whose every value has an effect

ANNOTATE, CLEAN, COMPARE, EVALUATE, VALIDATE = ("annotate",), ("clean",), ("compare",), ("evaluate",), ("validate",)
AVERAGE, EXTRACT, PRETRAIN, TRAIN, RANK = ("average",), ("extract",), ("pretrain",), ("train",), ("rank_taps",)
REFINE = ("refine",)
FITTING = (*PRETRAIN, *TRAIN)  # stages that train a model
SAMPLED = (*EXTRACT, *FITTING, *RANK, "verify")  # stages that write a store of samples, or search for a store
SCORING = (*FITTING, *REFINE, *AVERAGE, *EVALUATE)  # stages that score images
ON_MACHINE = (*EXTRACT, *FITTING, *REFINE, *AVERAGE, *EVALUATE)  # stages that can run in several processes
FEATURED = (*SAMPLED, *ANNOTATE)  # stages that build a CNN, and do not load it with a model
IMAGES = (*SAMPLED, *REFINE, *AVERAGE, *EVALUATE, *VALIDATE, *ANNOTATE)  # stages that read images
ON_RUNS = ("status", "clean")  # stages that only look at the folder `runs`
EVERY = (*IMAGES, *COMPARE, *ON_RUNS)
IN_ALL = (*EXTRACT, *FITTING)  # stages that stage=all runs
STAGES = ("all", *EVERY)

# Values of `Setting.decides` for settings whose values `fingerprint.result_settings` leaves out of all fingerprints.
NOTHING = ("nothing",)  # changes only where files are, the speed, or the output on the screen
FEATURES = ("features",)  # decides the hypercolumns; the fingerprint contains hashes of the data and the CNN instead
INPUT = ("input",)  # decides which store or model a stage reads; the fingerprint contains a hash of it instead
SCORES = ("scores",)  # decides how a finished run is scored; the file of the scores contains the value instead


@dataclass(frozen=True)
class Setting:
    """The declaration of a setting (`seed`), of a group of settings (`optimizer`), or of a setting in a group.

    A setting in a group, such as `optimizer.lr`, needs a declaration of its own only if it differs from
    the declaration of the group.

    Attributes:
        name: the name on the command line, such as `optimizer.lr`.
        stages: the stages that use the setting; empty: the same stages as for the group. Every setting of extract,
            pretrain or train is also a setting of stage all. List "all" only for a setting that none of these three
            stages uses, such as `last_stage`.
        decides: the stages whose results depend on the value, or one of NOTHING, FEATURES, INPUT and SCORES.
        check: takes the name and the value, and raises HypercolumnsError if the value is invalid. None: the function or
            class that takes the value as an argument checks the value.
        neutral: the value that has no effect. Fingerprints leave out a setting that has this value. MISSING: every
            value has an effect.
        when: takes the config, and returns whether this setting has an effect in this config. Fingerprints leave out a
            setting that has no effect. None: the setting always has an effect.
        path: whether the value is a path or a regular expression. `cli.paths` puts such values into quotes, so that
            Hydra does not parse them.
        column: the name of the setting's column in TensorBoard's table of hyperparameters; None: no column.
    """

    name: str
    stages: tuple[str, ...]
    decides: tuple[str, ...]
    check: Check | None = None
    neutral: Any = MISSING
    when: Callable[[Config], bool] | None = None
    path: bool = False
    column: str | None = None


def trains_backbone(cfg: Config) -> bool:
    """Return whether stage train trains layers of the backbone, and not only the classifier."""
    return bool(cfg["cnn"]["trainable"])


def samples_pixels(cfg: Config) -> bool:
    """Return whether stage train trains on the pixels that the sampler chooses (pixels=sampler)."""
    return bool(cfg["pixels"] == "sampler")


SETTINGS = (
    Setting("stage", EVERY, NOTHING, column="stage"),
    Setting("experiment", SAMPLED, NOTHING),
    Setting("search", SCORING, NOTHING),
    Setting("runs", EVERY, NOTHING, path=True),
    Setting("overwrite", (*ON_MACHINE, *RANK), NOTHING, check_bool),
    Setting("last_stage", ("all",), NOTHING, one_of("pretrain", "train")),
    Setting("trainings", ("all",), NOTHING, at_least(1)),
    Setting("second_pass", ("all",), NOTHING, check_bool),
    Setting(
        "seed",
        (*FEATURED, *REFINE, *AVERAGE, *EVALUATE, *COMPARE),
        (*FITTING, *REFINE, *RANK, *ANNOTATE),
        at_least(0),
        column="seed",
    ),
    # Images.
    Setting("data", IMAGES, FEATURES),
    Setting("data.root", (), FEATURES, path=True),
    Setting("data.classes", (), FEATURES, path=True),
    Setting("data.palette", (), FEATURES, path=True),
    Setting("data.images", (), FEATURES, path=True),
    Setting("data.masks", (), FEATURES, path=True),
    Setting("data.annotations", (), FEATURES, path=True),
    Setting("data.val_annotations", (), FEATURES, path=True),
    Setting("data.task", (), FEATURES, one_of("instances", "panoptic")),
    Setting("data.crowds", (), FEATURES, one_of("auto", "void", "object")),
    Setting("data.overlaps", (), FEATURES, one_of("order", "smaller_on_top")),
    Setting("data.orientation", (), FEATURES, one_of("auto", "applied", "ignored")),
    Setting("data.empty", (), FEATURES, one_of("background", "unlabelled")),
    Setting("data.several", (), FEATURES, one_of("error", "newest")),
    Setting("data.image_field", (), FEATURES),
    Setting("data.train", (), FEATURES, path=True),
    Setting("data.val", (), FEATURES, path=True),
    Setting("data.group_pattern", (), FEATURES, optional(check_pattern), path=True),
    Setting("data.val_group", (), FEATURES, column="data.val_group"),
    Setting("data.image_name", (), FEATURES, path=True),
    Setting("data.mask_name", (), FEATURES, path=True),
    Setting("data.void", (), FEATURES),
    Setting("data.map", (), FEATURES),
    Setting("data.encoding", (), FEATURES, one_of("auto", "values", "colors")),
    Setting("data.missing_classes", (), NOTHING, one_of("error", "allow")),
    Setting("data.unlabelled", (), FEATURES, one_of("error", "skip")),
    Setting("data.overlap", (), NOTHING, one_of("error", "allow")),
    Setting("data.train_subset", (), FEATURES, column="data.train_subset"),
    Setting("data.max_invalid", (), FEATURES, check_fraction),
    Setting("data.on_bad", (), FEATURES, one_of("error", "skip")),
    Setting("data.range", (), FEATURES, column="data.range"),
    Setting("data.channels", (), FEATURES, column="data.channels"),
    Setting("data.page", (), FEATURES, column="data.page"),
    Setting("max_pixels", IMAGES, NOTHING, at_least(1)),
    Setting("num_workers", IMAGES, NOTHING, at_least(0)),
    # Hypercolumns.
    Setting("cnn", (*FEATURED, *REFINE, *AVERAGE, *EVALUATE), FEATURES),
    Setting("cnn.model", (), FEATURES, check_timm_model),
    Setting("cnn.name", (), FEATURES, check_folder_name, column="cnn"),
    Setting("cnn.weights", FEATURED, FEATURES, path=True),
    Setting("cnn.taps", FEATURED, FEATURES),
    Setting("cnn.context", FEATURED, FEATURES),
    Setting("cnn.mean", FEATURED, FEATURES),
    Setting("cnn.std", FEATURED, FEATURES),
    Setting("cnn.norm", FEATURED, FEATURES, neutral=False),
    Setting("cnn.scales", FEATURED, FEATURES, neutral=[1], column="cnn.scales"),
    Setting("cnn.seed", FEATURED, FEATURES),
    Setting("cnn.trainable", TRAIN, FEATURES, column="cnn.trainable"),
    Setting("cnn.drop_path", TRAIN, FEATURES, neutral=None, when=trains_backbone, column="cnn.drop_path"),
    Setting("cnn.grad_checkpointing", TRAIN, NOTHING),
    Setting("alignment", FEATURED, FEATURES, one_of("exact", "half_pixel", "corners"), column="alignment"),
    Setting("resize", FEATURED, FEATURES, check_image_size, column="resize"),
    Setting("window_overlap", FEATURED, FEATURES, optional(at_least(1)), neutral=None, column="window_overlap"),
    Setting("max_window_pixels", (*ON_MACHINE, *ANNOTATE), NOTHING, at_least(1)),
    Setting("compile", ON_MACHINE, NOTHING, check_bool),
    # Samples.
    Setting("sampler", SAMPLED, TRAIN, when=samples_pixels, column="sampler"),
    Setting("extract", SAMPLED, INPUT, check_needed_group),
    Setting("samples", (*EXTRACT, *PRETRAIN, *RANK, "verify"), INPUT, path=True),
    Setting("model", (*SAMPLED, *REFINE, *EVALUATE), INPUT, path=True),
    Setting("models", AVERAGE, INPUT, check_models, path=True),
    Setting("embedding", EXTRACT, NOTHING, at_least(0)),
    # Machine.
    Setting("trainer", ON_MACHINE, FITTING, check_trainer),
    Setting("trainer.precision", SCORING, FITTING, check_precision),
    Setting("trainer.accelerator", (), NOTHING),
    Setting("trainer.devices", (), NOTHING),
    Setting("trainer.num_nodes", (), NOTHING),
    Setting("trainer.strategy", (), NOTHING, check_strategy),
    # Training.
    Setting("trainer.max_epochs", FITTING, FITTING, at_least(1), column="epochs"),
    Setting("trainer.log_every_n_steps", FITTING, NOTHING, at_least(1)),
    Setting("trainer.gradient_clip_val", FITTING, FITTING, optional(check_number)),
    Setting("trainer.accumulate_grad_batches", FITTING, FITTING, at_least(1)),
    Setting("trainer.check_val_every_n_epoch", FITTING, FITTING, at_least(1)),
    Setting("trainer.limit_train_batches", FITTING, FITTING, check_batches),
    Setting("trainer.limit_val_batches", FITTING, FITTING, check_batches),
    Setting("classifier", FITTING, FITTING, column="classifier"),
    Setting("classifier.hidden", (), FITTING, column="classifier.hidden"),
    Setting("loss", FITTING, FITTING, neutral={"kind": "cross_entropy", "label_smoothing": 0.0}, column="loss"),
    Setting("class_weights", FITTING, FITTING, check_class_weights, column="class_weights"),
    Setting("optimizer", FITTING, FITTING, column="optimizer"),
    Setting("optimizer.lr", (), FITTING, check_optimizer_number, column="lr"),
    Setting("optimizer.weight_decay", (), FITTING, check_optimizer_number),
    Setting("optimizer.momentum", (), FITTING, check_optimizer_number),
    Setting("optimizer.backbone_lr", TRAIN, TRAIN, neutral=None, when=trains_backbone),
    Setting("optimizer.layer_decay", TRAIN, TRAIN, neutral=None, when=trains_backbone),
    Setting("optimizer.no_decay_norm_and_bias", (), FITTING, neutral=False),
    Setting("scheduler", FITTING, FITTING, column="scheduler"),
    Setting("batch_size", FITTING, FITTING, at_least(1), column="batch_size"),
    Setting("ema", FITTING, FITTING, optional(below(1)), None, column="ema"),
    Setting("patience", FITTING, FITTING, optional(at_least(1))),
    Setting("monitor", FITTING, FITTING, check_metric_of_val),
    Setting("resume_from", FITTING, INPUT, path=True),
    Setting("checkpoint_minutes", FITTING, NOTHING, check_number),
    Setting("logger", SCORING, NOTHING),
    Setting("callbacks", FITTING, NOTHING, check_callbacks),
    Setting("images_per_batch", PRETRAIN, PRETRAIN, optional(at_least(1)), None, column="images_per_batch"),
    Setting("val_images", PRETRAIN, SCORES, check_number_of_images),
    Setting("init_from", TRAIN, INPUT, path=True),
    Setting("pixels", TRAIN, TRAIN, check_pixels, column="pixels"),
    Setting("augment", TRAIN, TRAIN, check_group, column="training.augment"),
    Setting("augment.grayscale", (), TRAIN, neutral=0.0),
    Setting("augment.gaussian_blur", (), TRAIN, neutral=0.0),
    Setting("wise_ft_alpha", TRAIN, TRAIN, optional(check_fraction), neutral=None, column="wise_ft_alpha"),
    # Scores.
    Setting("boundary_width", SCORING, SCORES, at_least(1)),
    Setting("bootstrap_samples", (*SCORING, *COMPARE), SCORES, at_least(0)),
    Setting("group_pattern", (*SCORING, *COMPARE), SCORES, optional(check_pattern), path=True),
    Setting("split", EVALUATE, SCORES),
    Setting("predictions", EVALUATE, SCORES, path=True),
    Setting("masks", EVALUATE, SCORES, path=True),
    Setting("tta", EVALUATE, SCORES),
    Setting("evaluation", COMPARE, INPUT, path=True),
    Setting("baseline", COMPARE, INPUT, path=True),
    # The page of stage annotate.
    Setting("host", ANNOTATE, NOTHING, path=True),
    Setting("port", ANNOTATE, NOTHING, at_least(0)),
    Setting("open", ANNOTATE, NOTHING, check_bool),
    Setting("map_memory", ANNOTATE, NOTHING, check_number),
    Setting("hidden", ANNOTATE, ANNOTATE, at_least(1)),
    # The folder of the runs.
    Setting("dry_run", CLEAN, NOTHING, check_bool),
    Setting("clean", CLEAN, NOTHING, check_needed_group),
    Setting("clean.checkpoints", (), NOTHING, check_bool),
    Setting("clean.stores", (), NOTHING, check_bool),
    Setting("clean.caches", (), NOTHING, check_bool),
    Setting("clean.unfinished_days", (), NOTHING, optional(check_number)),
    # The second pass.
    Setting("refine", (*REFINE, "all"), REFINE, check_needed_group),
    Setting("refine.images", (), REFINE, at_least(1)),
    Setting("refine.pixels", (), REFINE, at_least(1)),
    Setting("refine.hidden", (), REFINE, at_least(1)),
    Setting("refine.steps", (), REFINE, at_least(1)),
    Setting("refine.lr", (), REFINE, check_optimizer_number),
    Setting("refine.weight_decay", (), REFINE, check_optimizer_number),
    Setting("refine.class_weights", (), REFINE, check_fraction),
    # Taps.
    Setting("rank", RANK, RANK, check_needed_group),
    Setting("rank.components", (), RANK, at_least(1)),
    Setting("rank.samples", (), RANK, at_least(1)),
    Setting("rank.max_taps", (), RANK, optional(at_least(1))),
    Setting("rank.max_channels", (), RANK, optional(at_least(1))),
)
# The settings that choose a file, as cnn=vgg chooses conf/cnn/vgg.yaml.
CONFIG_GROUPS = (
    *("callbacks", "classifier", "cnn", "data", "experiment", "logger", "loss", "optimizer", "sampler", "scheduler"),
    *("search", "stage", "trainer"),
)
PATHS = {setting.name for setting in SETTINGS if setting.path}  # `cli.paths` puts the values of these into quotes
# What a message recommends in place of a setting that a stage does not use: the backbone of the same model.
INSTEAD = {"init_from": "cnn.weights"}
BY_NAME = {setting.name: setting for setting in SETTINGS}


def stages_of(name: str) -> tuple[str, ...]:
    """Return the stages that use a setting; all stages if neither the setting nor its group is declared."""
    while name:
        setting = BY_NAME.get(name)
        if setting is not None and setting.stages:
            return (*setting.stages, "all") if set(setting.stages) & set(IN_ALL) else setting.stages
        name = name.rpartition(".")[0]
    return STAGES


def decides(name: str, stage: str) -> bool:
    """Return whether the results of a stage depend on the value of a setting.

    The settings in the groups cnn, extract and sampler decide the results of every stage that uses them, because they
    at least decide which store the stage reads.
    """
    while name:
        setting = BY_NAME.get(name)
        if setting is not None:
            group = setting.name.partition(".")[0]
            if setting.decides == NOTHING:
                return False
            return stage in setting.decides or (group in ("cnn", "extract", "sampler") and stage in stages_of(name))
        name = name.rpartition(".")[0]
    return False


def stages_named(arguments: list[str]) -> list[str]:
    """Return the stages that a command line names: several in a sweep over stages, ["all"] if it names none."""
    named = [argument.partition("=")[2] for argument in arguments if argument.startswith("stage=")]
    return named[-1].split(",") if named else ["all"]


def setting_of(override: str) -> str:
    """Return the name of the setting that an override sets, such as `optimizer.lr` for `++optimizer.lr=1e-3`."""
    return override.lstrip("+~").partition("=")[0].partition("@")[0]


def taken(stage: str, overrides: list[str]) -> list[str]:
    """Return the overrides whose settings a stage uses, in the given order."""
    return [override for override in overrides if stage in stages_of(setting_of(override))]


def not_taken(name: str, stage: str) -> str:
    """Return the error message for a setting on the command line that a stage does not use."""
    instead = f", or give the model by {INSTEAD[name]}" if name in INSTEAD and stage in stages_of(INSTEAD[name]) else ""
    return f"{name} is not a setting of stage={stage}, but of {', '.join(stages_of(name))}; leave out {name}{instead}"
