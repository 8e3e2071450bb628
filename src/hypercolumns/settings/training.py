"""Build the loss, the optimizer, the trainer and the scorer from a config."""

from collections.abc import Callable, Iterable
from dataclasses import fields
from functools import partial
from inspect import signature
from typing import Any

import pytorch_lightning as pl
import torch
from hydra.utils import instantiate
from omegaconf import DictConfig
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from hypercolumns.callbacks import (
    AtomicCheckpointIO,
    EMAWeightAveraging,
    MetricsCSV,
    RelocatableModelCheckpoint,
    ResumableEarlyStopping,
    ResumeCheckpoint,
    ScheduledRates,
    SearchPruning,
    SelfContainedCheckpoint,
    TerminateOnNonFinite,
    TrainingProgressBar,
    ValidationCounts,
)
from hypercolumns.data import ResumableDataModule
from hypercolumns.errors import HypercolumnsError, setting_prefix, summarize_error
from hypercolumns.loggers import RunLoggers
from hypercolumns.losses import ClassWeights, Loss, balanced_weights
from hypercolumns.models.segmenter import Segmenter
from hypercolumns.runs.earlier import EarlierRun
from hypercolumns.runs.fit import checkpoints_dir
from hypercolumns.runs.results import Results
from hypercolumns.runs.run import Run
from hypercolumns.runs.score import Scorer
from hypercolumns.runtime import distributed
from hypercolumns.runtime.progress import console
from hypercolumns.samplers import Sampler, UniformSampler
from hypercolumns.settings.callbacks import chosen_callbacks
from hypercolumns.settings.compose import part, plain
from hypercolumns.settings.data import check_augmentation
from hypercolumns.settings.loggers import check_loggers
from hypercolumns.settings.machine import machine
from hypercolumns.settings.model import check_model, sampler
from hypercolumns.settings.monitor import check_monitor
from hypercolumns.settings.schema import samples_pixels
from hypercolumns.tasks.param_groups import ParamGroupConfig

# What to do if a training gives NaN or infinity. The error that ends with this text names the images of the batch.
NON_FINITE_REMEDY = (
    "lower optimizer.lr, set trainer.gradient_clip_val=1 or, with 16-bit numbers, trainer.precision=32-true; if "
    "nothing helps, look at these images"
)


def class_weights(cfg: DictConfig, count: Callable[[], Tensor]) -> ClassWeights:
    """Build the class weights of the loss from the setting `class_weights`.

    Args:
        cfg: the config.
        count: returns the number of training pixels or samples of each class, (classes,) int64. It is called only if
            the weights depend on these numbers.

    Returns:
        The weights (classes,) float32. None: all classes have the same weight. "batch": the loss computes the weights
        from the labels of each batch.
    """
    if cfg.class_weights == "none":
        return None
    if cfg.class_weights == "batch":
        return "batch"
    if cfg.class_weights == "balanced":
        return balanced_weights(count())
    return balanced_weights(count(), cfg.class_weights)


def loss(cfg: DictConfig, count: Callable[[], Tensor]) -> Loss:
    """Build the loss that the settings `loss` and `class_weights` describe.

    Args:
        cfg: the config.
        count: returns the number of training pixels or samples of each class, see `class_weights`.

    Returns:
        The loss, with its class weights.

    Raises:
        HypercolumnsError: if the setting `class_weights` is not none but the loss takes no class weights. Also if
            several processes share each batch, but the loss can't be computed from parts of a batch.
    """
    weights = class_weights(cfg, count)
    loss: Loss = part("loss", cfg.loss)
    name = f"loss={cfg.loss.kind}"
    if not loss.set_class_weights(weights) and weights is not None:
        raise HypercolumnsError(
            f"class_weights={cfg.class_weights} can't be combined with {name}, which always weighs all classes "
            f"equally; use class_weights=none, or a loss that includes cross-entropy, such as loss=cross_entropy"
        )
    if distributed.is_distributed() and not loss.supports_ddp:
        raise HypercolumnsError(
            f"{name} is not a sum over pixels, so several processes can't compute it from their parts of a batch; use "
            f"trainer.devices=1, or loss=cross_entropy"
        )
    return loss


def optimization(cfg: DictConfig, earlier: EarlierRun | None = None) -> dict[str, Any]:
    """Return the arguments by which a training task is optimized, by the name of the argument.

    `optimizer` and `scheduler` are functions that build the optimizer and the learning-rate schedule. `param_groups` is
    a `ParamGroupConfig`. If the training goes on from an `earlier` run, the warm-up of the schedule rises from the rate
    at which that run ended.
    """
    settings = plain(cfg.optimizer)
    with setting_prefix("optimizer."):
        groups = ParamGroupConfig(**{field.name: settings.pop(field.name) for field in fields(ParamGroupConfig)})
    schedule = part("scheduler", cfg.scheduler)
    if earlier is not None and "warmup_start" in signature(schedule).parameters:  # a schedule of one's own may lack it
        schedule = partial(schedule, warmup_start=earlier.progress.rate)
    return {
        "optimizer": partial(_make_optimizer, part("optimizer", settings)),
        "scheduler": partial(_make_scheduler, schedule),
        "param_groups": groups,
    }


def _make_optimizer(make: Callable[..., Optimizer], groups: Iterable[dict[str, Any]]) -> Optimizer:
    """Call `make` to build an optimizer for parameter groups; raise HypercolumnsError if a setting is invalid."""
    try:
        return make(groups)
    except (TypeError, ValueError) as error:
        settings = make.keywords if isinstance(make, partial) else {}
        given = "".join(f"{name}={value}, " for name, value in settings.items())
        raise HypercolumnsError(
            f"optimizer: the settings are invalid ({given}{summarize_error(error)}); change one of the settings"
        ) from error


def _make_scheduler(make: Callable[..., LambdaLR], optimizer: Optimizer, steps: int) -> LambdaLR:
    """Call `make` to build the learning-rate schedule of an optimizer.

    `steps` is the number of optimizer steps of the whole training. Raise HypercolumnsError if a setting is invalid.
    """
    with setting_prefix("scheduler."):
        return make(optimizer, steps)


def check_training(cfg: DictConfig) -> None:
    """Check the settings of a training by building what can be built without data, before any work starts.

    Raises:
        HypercolumnsError: if a setting is invalid.
    """
    check_model(cfg)
    if cfg.stage == "train":
        check_augmentation(cfg)
    loss(cfg, lambda: torch.ones(1))
    optimization(cfg)
    check_monitor(cfg, chosen_callbacks(cfg))
    check_loggers(cfg)


def pixel_sampler(cfg: DictConfig) -> Sampler | None:
    """Build the sampler of the training pixels of stage train; return None if stage train uses all pixels."""
    if cfg.pixels == "all":
        return None
    return sampler(cfg) if samples_pixels(cfg) else UniformSampler(cfg.pixels)


def trainer(
    cfg: DictConfig, run: Run, loggers: RunLoggers, data: ResumableDataModule, segmenter: Segmenter
) -> pl.Trainer:
    """Build the Lightning trainer of a run, with all callbacks.

    Args:
        cfg: the config.
        run: the run, to whose folders the trainer writes.
        loggers: the loggers of the run.
        data: the data module; checkpoints contain its position within the epoch.
        segmenter: the complete model, which checkpoints contain.

    Returns:
        The trainer, ready to fit.
    """
    callbacks = _callbacks(cfg, run, data, segmenter)
    trainer: pl.Trainer = instantiate(
        cfg.trainer,
        logger=loggers.open(),
        callbacks=callbacks,
        plugins=[AtomicCheckpointIO()],
        default_root_dir=str(run.folder),
        reload_dataloaders_every_n_epochs=1,  # a loader keeps the order of the data of one epoch
        use_distributed_sampler=False,  # the data modules divide the batches among the ranks themselves
        num_sanity_val_steps=0,
        enable_model_summary=False,
        enable_progress_bar=False,
        _convert_="all",
    )
    announce_batches(cfg, trainer)
    return trainer


def _callbacks(cfg: DictConfig, run: Run, data: ResumableDataModule, segmenter: Segmenter) -> list[Any]:
    """Return the callbacks of a training: those of the setting `callbacks`, and those that every training needs."""
    callbacks: list[Any] = chosen_callbacks(cfg)
    if cfg.ema is not None:
        callbacks.append(EMAWeightAveraging(cfg.ema))
    if cfg.stage == "train":
        callbacks.append(ValidationCounts(segmenter, cfg.boundary_width))
    callbacks += [
        SelfContainedCheckpoint(segmenter),
        TerminateOnNonFinite(data, NON_FINITE_REMEDY),
        ScheduledRates(),
        TrainingProgressBar(),
    ]
    callbacks.append(MetricsCSV(run.folder))
    mode = "min" if str(cfg.monitor).endswith("loss") else "max"
    callbacks.append(SearchPruning(cfg.stage, cfg.monitor, minimise=mode == "min"))
    if cfg.patience is not None:
        callbacks.append(ResumableEarlyStopping(cfg.monitor, mode=mode, patience=cfg.patience))
    best = RelocatableModelCheckpoint(
        checkpoints_dir(run.folder),
        filename="best",
        monitor=cfg.monitor,
        mode=mode,
        save_on_train_epoch_end=True,
        enable_version_counter=False,
    )
    last = ResumeCheckpoint(checkpoints_dir(run.folder), cfg.checkpoint_minutes, data)
    return [*callbacks, best, last]  # in this order, because `last` saves the state of `best`


def announce_batches(cfg: DictConfig, trainer: pl.Trainer) -> None:
    """Print how the processes share the batches of a training. With one process, print nothing.

    Raises:
        HypercolumnsError: if `batch_size` is smaller than the number of processes.
    """
    if trainer.world_size == 1:
        return
    if cfg.batch_size < trainer.world_size:
        raise HypercolumnsError(
            f"batch_size={cfg.batch_size} is too small: {trainer.world_size} processes share each batch, and each "
            f"process must get a part; use batch_size={trainer.world_size} or more, or fewer processes"
        )
    unit = "samples" if cfg.stage == "pretrain" else "images"
    steps = trainer.accumulate_grad_batches
    console.print(
        f"{cfg.stage}: {trainer.world_size} processes share batches of {cfg.batch_size} {unit}, "
        f"{cfg.batch_size / trainer.world_size:g} each"
        f"{f', {steps} batches per step' if steps > 1 else ''}; learning rate {cfg.optimizer.lr:g}"
    )


def scorer(cfg: DictConfig) -> Scorer:
    """Build the scorer, which scores a model or predicted masks on images."""
    return Scorer(
        machine=machine(cfg),
        num_workers=cfg.num_workers,
        boundary_width=cfg.boundary_width,
        bootstrap_samples=cfg.bootstrap_samples,
        group_pattern=cfg.group_pattern,
        seed=cfg.seed,
    )


def results(cfg: DictConfig, loggers: RunLoggers) -> Results:
    """Build the object that scores the model or the predicted masks of a stage, and writes the results of the run.

    Args:
        cfg: the config.
        loggers: the loggers of the run.

    Returns:
        The object. It writes the metrics of each class only in stages that do not train.
    """
    return Results(scorer(cfg), loggers, per_class=cfg.stage in ("refine", "average", "evaluate"))
