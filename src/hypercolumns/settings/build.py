"""From a config to objects."""

import logging
import re
import warnings
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from hydra.core.hydra_config import HydraConfig
from hydra.errors import InstantiationException
from hydra.utils import get_class, instantiate
from omegaconf import DictConfig, OmegaConf
from PIL import Image
from torch import Tensor

from hypercolumns.callbacks import (
    AtomicCheckpointIO,
    EMAWeightAveraging,
    MetricsCSV,
    RelocatableModelCheckpoint,
    ResumableEarlyStopping,
    ResumeCheckpoint,
    SearchPruning,
    SelfContainedCheckpoint,
    TerminateOnNonFinite,
    TrainingProgressBar,
    resume_point,
)
from hypercolumns.data import (
    Augmentation,
    DatasetIndex,
    ImageDataModule,
    ResumableDataModule,
    check_colour_settings,
    check_headers,
    hold_out,
    quarantine,
    shared_ids,
    train_subset,
)
from hypercolumns.data.groups import group_ids
from hypercolumns.errors import (
    ArgumentError,
    HypercolumnsError,
    check_bool,
    check_folder_name,
    check_fraction,
    check_int,
    check_number,
    escape_control_chars,
    is_out_of_memory,
    setting_prefix,
    summarize_error,
)
from hypercolumns.io import checkpoints as torch_file
from hypercolumns.io.files import expand_path
from hypercolumns.io.images import set_max_pixels
from hypercolumns.losses import ClassWeights, Loss, balanced_weights
from hypercolumns.models.backbones import Backbone
from hypercolumns.models.classifiers import Classifier
from hypercolumns.models.extractor import HypercolumnExtractor
from hypercolumns.models.segmenter import Segmenter
from hypercolumns.models.tta import TestTimeAugmentation
from hypercolumns.runs.environment import command_line
from hypercolumns.runtime import distributed, randomness
from hypercolumns.runtime.progress import console
from hypercolumns.tasks.param_groups import MAX_LR, ParamGroupConfig

WHICH_IMAGES = {  # settings of all data sets, and what they are where a file of conf/data leaves them out
    "split_by": None,
    "fold": None,
    "limit_images": None,
    "limit_seed": 0,
    "on_bad": "error",
    "max_bad": 0.05,
}
OWN_NAMES = ("cnn", "classifier")  # groups whose classes name their own arguments in errors
PARTS = ("data", "sampler", "classifier", "loss", "optimizer", "scheduler")  # groups whose options are parts of ours
SHARED = ("extract", "pretrain", "train", "evaluate")  # stages whose work several processes can share


def quiet_libraries() -> None:
    """Silence Lightning's hints and warnings about things that are as they should be, unless hydra.verbose asks."""
    for library in ("PIL", "matplotlib"):  # they log every chunk of every PNG, and every font
        logging.getLogger(library).setLevel(logging.INFO)
    if HydraConfig.initialized() and HydraConfig.get().verbose:
        return
    for library in ("pytorch_lightning", "lightning_fabric"):
        logging.getLogger(library).setLevel(logging.WARNING)
    for message in (
        ".*does not have many workers.*",
        ".*eval mode at the start of training.*",
        ".*LeafSpec.*",
        ".*could not find the monitored key.*",  # `fit` says so itself, at the end
        ".*smaller than the logging interval.*",
        ".*your dataloader is not resumable.*",  # the data modules see to it
        ".*when logging on epoch level in distributed setting.*",  # of figures that are the same in all processes
        ".*Checkpoint directory .* exists and is not empty.*",
        "Glyph .* missing from font.*",  # of a class's name, in a plot
    ):
        warnings.filterwarnings("ignore", message)
    warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # for `images` makes an error of it
    warnings.filterwarnings("ignore", module="PIL")  # what else a damaged file makes it say, beside our own words


def check_settings(cfg: DictConfig) -> None:
    """What every stage of train.py does first: check the settings that no class checks, and silence the libraries."""
    check_bool("overwrite", cfg.overwrite)
    check_int("batch_size", cfg.batch_size, minimum=1)
    check_int("num_workers", cfg.num_workers, minimum=0)
    check_number("checkpoint_minutes", cfg.checkpoint_minutes)
    if cfg.start_share is not None:
        check_fraction("start_share", cfg.start_share)
    check_int("boundary", cfg.boundary, minimum=1)
    check_int("bootstrap", cfg.bootstrap, minimum=0)
    if cfg.groups is not None:
        group_ids([], cfg.groups, "groups")  # raises where it is no regular expression
    check_int("seed", cfg.seed, minimum=0)
    set_max_pixels(cfg.max_pixels)
    plain(cfg.cnn)  # raises where cnn.model is missing, before any image is read or drawn
    check_folder_name("cnn.name", cfg.cnn.name)
    check_kinds(cfg)
    check_machine(cfg)
    for group in ("augment", "rank", "views"):
        if not isinstance(cfg[group], DictConfig) and (cfg[group] or group == "views"):
            raise HypercolumnsError(f"{group}={cfg[group]} is a group of settings; set one of them, {group}.<name>=...")
    for name, callback in (cfg.get("callbacks") or {}).items():
        if not isinstance(callback, DictConfig):
            raise HypercolumnsError(
                f"callbacks.{name}={callback} is a group of settings; set one of them, callbacks.{name}.<name>=..., or "
                f"leave it out, ~callbacks.{name}"
            )
    of_training = ("max_epochs",) if cfg.monitor is not None else ()
    for name in (*of_training, "log_every_n_steps", "accumulate_grad_batches", "check_val_every_n_epoch"):
        check_int(f"trainer.{name}", cfg.trainer[name], minimum=1)
    for name in ("limit_train_batches", "limit_val_batches"):
        if cfg.trainer[name] is not None:
            check_number(f"trainer.{name}", cfg.trainer[name])
    if cfg.monitor is not None:  # a stage that trains
        if cfg.trainer.max_epochs % cfg.trainer.check_val_every_n_epoch:
            raise HypercolumnsError(
                f"trainer.max_epochs={cfg.trainer.max_epochs} must be a multiple of "
                f"trainer.check_val_every_n_epoch={cfg.trainer.check_val_every_n_epoch}: the last epochs would not be "
                f"scored, and could not be the best"
            )
        if not str(cfg.monitor).startswith("val/"):
            raise HypercolumnsError(f"monitor={cfg.monitor} must be a figure of the val images, such as val/loss")
        for name in ("lr", "weight_decay", "momentum"):
            check_number(f"optimizer.{name}", cfg.optimizer.get(name, 0), below=MAX_LR)
    elif cfg.stage in ("pretrain", "train"):
        raise HypercolumnsError("monitor=null: a training needs a figure to tell its best epoch by, such as val/loss")
    quiet_libraries()
    if cfg.stage in SHARED:
        distributed.launch(cfg)
    if cfg.monitor is not None:  # raise for settings that can't be, before any work
        loss(cfg, lambda: torch.ones(1))
        optimization(cfg)
    console.quiet = not distributed.is_rank_zero()


def plain(cfg: Any) -> Any:
    """A part of a config as plain dicts, lists and values."""
    return OmegaConf.to_container(cfg, resolve=True) if OmegaConf.is_config(cfg) else cfg


def identified(settings: Any) -> Any:
    """A part of a config as what identifies a result: its `kind` and its settings, but no import path (`_target_`)."""
    if isinstance(settings, dict):
        return {name: identified(value) for name, value in settings.items() if not name.startswith("_")}
    return [identified(value) for value in settings] if isinstance(settings, list) else settings


def check_kinds(cfg: DictConfig) -> None:
    """Raise HypercolumnsError unless each part's `kind`, which results are identified by, is its group's option."""
    typed = next((one for one in overrides() if re.match(rf"\+*({'|'.join(PARTS)})\..*_target_=", one)), None)
    if typed is not None:
        raise HypercolumnsError(
            f"{typed}: results are identified by the option of a group, not by an import path; write a file for it, "
            f"such as conf/sampler/mine.yaml, and choose that: sampler=mine"
        )
    choices = HydraConfig.get().runtime.choices if HydraConfig.initialized() else {}
    for group in PARTS:
        option = choices.get(group)
        if option is not None and (kind := cfg[group].get("kind")) != option:
            raise HypercolumnsError(
                f"{group}.kind={kind} must be {option}, the name of its file, by which results are identified; correct "
                f"it in conf/{group}/{option}.yaml"
            )


def part(group: str, settings: Any, **more: Any) -> Any:
    """The object that the settings of a group describe; they carry its name, so that a fault can be told by it."""
    own = {name: value for name, value in plain(settings).items() if name != "kind"}
    with setting_prefix(f"{group}." if group in OWN_NAMES else ""):
        try:
            return instantiate(OmegaConf.create({group: own})[group], _convert_="all", **more)
        except InstantiationException as error:
            if isinstance(error.__cause__, ArgumentError):
                raise error.__cause__ from error
            raise


def listed_images(cfg: DictConfig) -> tuple[DatasetIndex, dict[str, Any]]:
    """The images that the config names, as they are listed, and the settings that say which of them to use.

    The first process fetches or draws them if they are not there.
    """
    settings = plain(cfg.data)
    which = {name: settings.pop(name, default) for name, default in WHICH_IMAGES.items()}
    with distributed.rank_zero_first():
        images: DatasetIndex = part("data", settings)
    return images, which


def image_set(cfg: DictConfig) -> DatasetIndex:
    """The images that the config names, all of which can be used, as far as can be told quickly.

    With `data.on_bad=skip` they have all been decoded once, and what can't be used is left out. Raises
    HypercolumnsError if something is wrong with the list or, without it, with the files.
    """
    images, which = listed_images(cfg)
    images = hold_out(images, which["split_by"], which["fold"])
    check_fraction("data.max_bad", which["max_bad"])
    if which["on_bad"] == "skip":
        images = quarantine.drop_invalid(cfg, images, which["max_bad"])
    elif which["on_bad"] == "error":
        check_headers(images)
    else:
        raise HypercolumnsError(f"data.on_bad={which['on_bad']} must be error or skip")
    shared = shared_ids(images)
    if shared:
        console.print(
            f"warning: data {images.name}: {len(shared)} images are in several splits, such as {escape_control_chars(shared[0])}; "
            f"figures of the val images tell nothing about new ones then",
            markup=False,
        )
    return train_subset(images, which["limit_images"], which["limit_seed"])


def resize(cfg: DictConfig) -> tuple[int, int] | None:
    """The setting `resize`."""
    if cfg.resize is None:
        return None
    sides = plain(cfg.resize)
    if not (isinstance(sides, list) and len(sides) == 2 and all(isinstance(side, int) and side > 0 for side in sides)):
        raise HypercolumnsError(f"resize={sides} must be [height,width] in pixels, or null")
    return sides[0], sides[1]


def image_data(cfg: DictConfig, images: DatasetIndex) -> ImageDataModule:
    """The images as batches."""
    if cfg.resize is not None and cfg.augment and (cfg.augment.crop is not None or cfg.augment.scale is not None):
        raise HypercolumnsError(
            "resize and augment.crop or augment.scale don't go together, for the backbone sees all images at one size; "
            "set augment.crop=null augment.scale=null, or resize=null"
        )
    augmentation = Augmentation(**plain(cfg.augment or {}))
    return ImageDataModule(images, cfg.batch_size, cfg.num_workers, resize(cfg), augmentation, cfg.seed)


def views_to_sample(cfg: DictConfig) -> dict[str, Any]:
    """The setting `views`: how many of each train image, and how their colours differ; {} for the image as it is."""
    settings: dict[str, Any] = plain(cfg.views)
    check_int("views.number", settings["number"], minimum=0)
    check_colour_settings("views", settings["color_jitter"], settings["grey"], settings["blur"])
    return settings if settings["number"] else {}


def backbone(cfg: DictConfig, like: Backbone | None = None) -> Backbone:
    """The backbone that the config names; with the weights and the normalisation of `like`, if that is given."""
    settings = {key: value for key, value in plain(cfg.cnn).items() if key not in ("name", "model")}
    if like is not None:
        if like.network != settings["network"]:
            raise HypercolumnsError(
                f"init_from={cfg.init_from} does not fit: cnn.network is {like.network}, this command has "
                f"{settings['network']}; choose another model, or its cnn"
            )
        make = get_class(settings.pop("_target_"))
        own = {name: like.get_buffer(name).flatten().tolist() for name in ("mean", "std")}
        with setting_prefix("cnn."):
            copied: Backbone = make(**settings | own | {"weights": like.body.state_dict()})
        return copied
    try:
        network: Backbone = part("cnn", settings)
    except HypercolumnsError as error:
        if "model" not in cfg.cnn:
            raise
        # The setting that names a network of timm.
        raise HypercolumnsError(str(error).replace("cnn.network=timm/", "cnn.model=", 1)) from error
    return network


def classifier(cfg: DictConfig, channels: int, classes: int) -> Classifier:
    """A new classifier, its weights decided by the seed."""
    with randomness.seeded(cfg.seed, "classifier"):
        new: Classifier = part("classifier", cfg.classifier, channels=channels, classes=classes)
    return new


def configure_inference(segmenter: Segmenter, cfg: DictConfig) -> None:
    """Set what changes a segmenter's speed and memory, but not what it does: the settings `window` and `compile`."""
    check_machine(cfg)
    segmenter.extractor.max_window_pixels = cfg.window
    if cfg.compile:
        segmenter.backbone.body.compile()


def check_machine(cfg: DictConfig) -> None:
    """Raise HypercolumnsError if `window` or `compile` can't be."""
    check_int("window", cfg.window, minimum=1)
    check_bool("compile", cfg.compile)


def model(cfg: DictConfig, images: DatasetIndex) -> Segmenter:
    """The model that the setting `model` names; raises HypercolumnsError unless it has the classes of the images."""
    path = expand_path("model", cfg.model)
    with setting_prefix("model="):
        segmenter = Segmenter.load(path)
    if segmenter.classes != images.classes:
        raise HypercolumnsError(
            f"model={path} has the classes {', '.join(segmenter.classes)}, data {images.name} "
            f"{', '.join(images.classes)}; give data.classes=<a file of the model's classes> if the masks hold those"
        )
    configure_inference(segmenter, cfg)
    return segmenter


def test_time_augmentation(cfg: DictConfig) -> TestTimeAugmentation:
    """The setting `tta`."""
    settings = plain(cfg.tta)
    if not isinstance(settings, dict) or set(settings) - {"scales", "flip"}:
        raise HypercolumnsError(f"tta={settings} must be tta.scales=[...] and tta.flip=true or false")
    scales = settings.get("scales", [1.0])
    with setting_prefix("tta."):
        return TestTimeAugmentation(
            tuple(scales if isinstance(scales, list) else [scales]), settings.get("flip", False)
        )


def class_weights(cfg: DictConfig, count: Callable[[], Tensor]) -> ClassWeights:
    """The setting `class_weights`; `count` tells each class's number in what is trained on, if needed."""
    if cfg.class_weights == "none":
        return None
    if cfg.class_weights == "batch":
        return "batch"
    if cfg.class_weights == "balanced":
        return balanced_weights(count())
    if not isinstance(cfg.class_weights, int | float):
        raise HypercolumnsError(
            f"class_weights={cfg.class_weights} is not known; choose one of none, balanced, batch, or a number from 0 "
            f"(none) to 1 (balanced)"
        )
    check_fraction("class_weights", cfg.class_weights)
    return balanced_weights(count(), cfg.class_weights)


def loss(cfg: DictConfig, count: Callable[[], Tensor]) -> Loss:
    """The loss that the config names; `count` as for `class_weights`.

    Raises HypercolumnsError if it has no weights of classes but is given some, or can't be shared by processes but is.
    """
    weights = class_weights(cfg, count)
    made: Loss = part("loss", cfg.loss)
    what = f"loss={cfg.loss.kind}"
    if not made.set_class_weights(weights) and weights is not None:
        raise HypercolumnsError(
            f"class_weights={cfg.class_weights}: in {what} all classes count alike by themselves; use "
            f"class_weights=none, or a loss with cross-entropy in it"
        )
    if distributed.is_distributed() and not made.supports_ddp:
        raise HypercolumnsError(
            f"{what} is no sum over pixels, so several processes can't share a batch and give what one would; use "
            f"trainer.devices=1, or loss=cross_entropy"
        )
    return made


def optimization(cfg: DictConfig) -> dict[str, Any]:
    """What the tasks take of the groups optimizer and scheduler: `optimizer`, `schedule` and `rates`."""
    settings = plain(cfg.optimizer)
    rates = ParamGroupConfig(**{field.name: settings.pop(field.name) for field in fields(ParamGroupConfig)})
    return {"optimizer": part("optimizer", settings), "schedule": part("scheduler", cfg.scheduler), "rates": rates}


def extractor(cfg: DictConfig, backbone: Backbone, size: tuple[int, int] | None = None) -> HypercolumnExtractor:
    """The hypercolumns of a backbone that sees images at this size; None: at their own."""
    return HypercolumnExtractor(backbone, cfg.alignment, size, cfg.window)


def segmenter(cfg: DictConfig, backbone: Backbone, classifier: Classifier, images: DatasetIndex) -> Segmenter:
    """The model of these parts."""
    return Segmenter(backbone, classifier, images.classes, images.palette, cfg.alignment, resize(cfg))


def checkpoints(folder: Path) -> Path:
    """Where a run keeps its checkpoints: best.ckpt, last.ckpt and previous.ckpt."""
    return folder / "checkpoints"


def trainer(cfg: DictConfig, folder: Path, events: Path, data: ResumableDataModule, *own: pl.Callback) -> pl.Trainer:
    """The trainer of a run that writes to `folder`, and what TensorBoard reads to `events`; `own` callbacks too."""
    callbacks: list[Any] = [instantiate(callback) for callback in (cfg.callbacks or {}).values()]
    if cfg.ema is not None:
        callbacks.append(EMAWeightAveraging(cfg.ema))
    callbacks += [*own, TerminateOnNonFinite(data), TrainingProgressBar(), MetricsCSV(folder)]
    mode = "min" if str(cfg.monitor).endswith("loss") else "max"
    callbacks.append(SearchPruning(cfg.stage, cfg.monitor, minimise=mode == "min"))
    if cfg.patience is not None:
        check_int("patience", cfg.patience, minimum=1)
        callbacks.append(ResumableEarlyStopping(cfg.monitor, mode=mode, patience=cfg.patience))
    best = RelocatableModelCheckpoint(
        checkpoints(folder),
        filename="best",
        monitor=cfg.monitor,
        mode=mode,
        save_on_train_epoch_end=True,
        enable_version_counter=False,
    )
    last = ResumeCheckpoint(checkpoints(folder), cfg.checkpoint_minutes, data)
    callbacks += [best, last]  # in this order, so that the last one knows the best
    made: pl.Trainer = instantiate(
        cfg.trainer,
        logger=instantiate(cfg.logger, save_dir=str(events)),
        callbacks=callbacks,
        plugins=[AtomicCheckpointIO()],
        default_root_dir=str(folder),
        reload_dataloaders_every_n_epochs=1,  # the order of an epoch is a function of its number
        use_distributed_sampler=False,  # the data modules see to it
        num_sanity_val_steps=0,
        enable_model_summary=False,
        enable_progress_bar=False,
        _convert_="all",
    )
    return made


def fit(
    cfg: DictConfig,
    task: pl.LightningModule,
    data: ResumableDataModule,
    segmenter: Segmenter,
    folder: Path,
    events: Path,
) -> None:
    """Train the task, going on from the last checkpoint if there is one; leaves it with its best epoch's weights.

    The task trains some or all of `segmenter`, which its checkpoints hold as a whole.
    """
    fitted = checkpoints(folder) / "fitted"
    if not fitted.is_file():
        of_run = trainer(cfg, folder, events, data, SelfContainedCheckpoint(segmenter))
        _state_batches(cfg, of_run)
        with distributed.interruptible(of_run):
            start = distributed.broadcast_from_rank_zero(lambda: resume_point(checkpoints(folder)))
            _fit_from(start, of_run, task, data)
    task.load_state_dict(_best_checkpoint(folder)["state_dict"])
    if distributed.is_rank_zero():
        fitted.touch()


def _fit_from(start: Path | None, trainer: pl.Trainer, task: pl.LightningModule, data: ResumableDataModule) -> None:
    """Train, going on from a checkpoint; raises HypercolumnsError if it is none of this training."""
    try:
        trainer.fit(task, data, ckpt_path=start, weights_only=True)
    except (AttributeError, IndexError, KeyError, TypeError, ValueError, RuntimeError) as error:
        last = next(one for one in trainer.callbacks if isinstance(one, ResumeCheckpoint))  # type: ignore[attr-defined]
        if start is None or last.began or is_out_of_memory(error):
            raise
        raise HypercolumnsError(
            f"{start} is no checkpoint of this training ({summarize_error(error)}); remove it, and the same command goes on "
            f"without it"
        ) from error


def _state_batches(cfg: DictConfig, trainer: pl.Trainer) -> None:
    """Say what a step is where several processes share it; raises HypercolumnsError if they can't."""
    if trainer.world_size == 1:
        return
    if cfg.batch_size < trainer.world_size:
        raise HypercolumnsError(
            f"batch_size={cfg.batch_size} is of all processes, too little for {trainer.world_size} processes; "
            f"use batch_size={trainer.world_size} or more, or fewer processes"
        )
    what = "samples" if cfg.stage == "pretrain" else "images"
    steps = trainer.accumulate_grad_batches
    console.print(
        f"{cfg.stage}: {trainer.world_size} processes share batches of {cfg.batch_size} {what}, "
        f"{cfg.batch_size / trainer.world_size:g} each"
        f"{f', {steps} batches a step' if steps > 1 else ''}; learning rate {cfg.optimizer.lr:g}"
    )


def best(folder: Path, monitor: str) -> dict[str, Any]:
    """The number (from 0) and the figure of the best epoch of a training."""
    checkpoint = _best_checkpoint(folder)
    callback = next(state for state in checkpoint["callbacks"].values() if state.get("monitor") == monitor)
    return {"best_epoch": int(checkpoint["epoch"]), monitor.removeprefix("val/"): float(callback["best_model_score"])}


def _best_checkpoint(folder: Path) -> dict[str, Any]:
    path, fitted = (checkpoints(folder) / name for name in ("best.ckpt", "fitted"))
    if not path.is_file() and fitted.is_file():
        raise HypercolumnsError(f"{path} is missing; overwrite=true trains anew")
    if not path.is_file():
        raise HypercolumnsError("no epoch was scored, so there is no best one; check trainer.limit_val_batches")
    try:
        checkpoint: dict[str, Any] = torch_file.load_plain(path)
        if not {"state_dict", "callbacks", "epoch"} <= {*checkpoint}:
            raise ValueError("it is no checkpoint of a training")
    except (OSError, TypeError, ValueError) as error:
        raise HypercolumnsError(f"{path} is damaged ({error}); overwrite=true trains anew") from error
    return checkpoint


def overrides() -> list[str]:
    """The settings on the command line; none where there is no command line."""
    return list(HydraConfig.get().overrides.task) if HydraConfig.initialized() else []


def command(stage: str, *changed: str) -> str:
    """The command line that runs another stage with the same settings, but for those that are `changed`."""
    left_out = ("stage=", "samples=", "init_from=", *(f"{override.partition('=')[0]}=" for override in changed))
    others = [override for override in overrides() if not override.startswith(left_out)]
    return command_line([f"stage={stage}", *others, *changed])
