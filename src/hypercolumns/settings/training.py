"""From a config to what a training takes: loss, optimizer, trainer."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields
from functools import partial
from pathlib import Path
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
    SearchPruning,
    SelfContainedCheckpoint,
    TerminateOnNonFinite,
    TrainingProgressBar,
)
from hypercolumns.data import ResumableDataModule
from hypercolumns.errors import HypercolumnsError, setting_prefix, summarize_error
from hypercolumns.losses import ClassWeights, Loss, balanced_weights
from hypercolumns.models.segmenter import Segmenter
from hypercolumns.runs.fit import checkpoints_dir
from hypercolumns.runs.results import Results
from hypercolumns.runs.run import Run
from hypercolumns.runs.score import Scorer
from hypercolumns.runtime import distributed
from hypercolumns.runtime.progress import console
from hypercolumns.samplers import Sampler, UniformSampler
from hypercolumns.settings.compose import part, plain
from hypercolumns.settings.machine import machine
from hypercolumns.settings.model import sampler
from hypercolumns.settings.schema import samples_pixels
from hypercolumns.tasks.param_groups import ParamGroupConfig

NON_FINITE_REMEDY = (
    "lower optimizer.lr, set trainer.gradient_clip_val=1 or, with 16-bit numbers, trainer.precision=32-true; if it "
    "comes with every setting, look at these images"
)


def class_weights(cfg: DictConfig, count: Callable[[], Tensor]) -> ClassWeights:
    """The loss weights of classes that the setting `class_weights` asks for.

    Args:
        cfg: the config.
        count: returns the number of training pixels or samples of each class, (classes,) int64; called only if needed.
    """
    if cfg.class_weights == "none":
        return None
    if cfg.class_weights == "batch":
        return "batch"
    if cfg.class_weights == "balanced":
        return balanced_weights(count())
    return balanced_weights(count(), cfg.class_weights)


def loss(cfg: DictConfig, count: Callable[[], Tensor]) -> Loss:
    """The loss that the config names.

    Args:
        cfg: the config.
        count: as for `class_weights`.

    Raises:
        HypercolumnsError: if the loss takes no weights of classes but is given some, or can't be shared by processes
            but is.
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
    """What the tasks take of the groups optimizer and scheduler: `optimizer`, `scheduler` and `param_groups`."""
    settings = plain(cfg.optimizer)
    with setting_prefix("optimizer."):
        groups = ParamGroupConfig(**{field.name: settings.pop(field.name) for field in fields(ParamGroupConfig)})
    return {
        "optimizer": partial(_make_optimizer, part("optimizer", settings)),
        "scheduler": partial(_make_scheduler, part("scheduler", cfg.scheduler)),
        "param_groups": groups,
    }


def _make_optimizer(make: Callable[..., Optimizer], groups: Iterable[dict[str, Any]]) -> Optimizer:
    """The optimizer of groups of parameters; raises HypercolumnsError if it refuses its settings."""
    try:
        return make(groups)
    except (TypeError, ValueError) as error:
        settings = make.keywords if isinstance(make, partial) else {}
        said = "".join(f"{name}={value}, " for name, value in settings.items())
        raise HypercolumnsError(f"optimizer: its settings are not right ({said}{summarize_error(error)})") from error


def _make_scheduler(make: Callable[..., LambdaLR], optimizer: Optimizer, steps: int) -> LambdaLR:
    """The schedule of an optimizer; raises HypercolumnsError if it refuses its settings."""
    with setting_prefix("scheduler."):
        return make(optimizer, steps)


def check_training(cfg: DictConfig) -> None:
    """Build what a training takes of its settings, before any work.

    Raises:
        HypercolumnsError: for settings that can't be.
    """
    loss(cfg, lambda: torch.ones(1))
    optimization(cfg)


def pixel_sampler(cfg: DictConfig) -> Sampler | None:
    """What chooses the pixels of stage train, by the setting `pixels`; None for all pixels."""
    if cfg.pixels == "all":
        return None
    return sampler(cfg) if samples_pixels(cfg) else UniformSampler(cfg.pixels)


def logger(cfg: DictConfig, events: Path) -> Any:
    """The logger of a run, which writes to the folder `events`."""
    return instantiate(cfg.logger, save_dir=str(events))


def trainer(cfg: DictConfig, run: Run, data: ResumableDataModule, segmenter: Segmenter) -> pl.Trainer:
    """The trainer of a run.

    Args:
        cfg: the config.
        run: whose folders it writes to.
        data: whose position in an epoch checkpoints hold.
        segmenter: which checkpoints hold as a whole.
    """
    callbacks: list[Any] = [part(f"callbacks.{name}", callback) for name, callback in (cfg.callbacks or {}).items()]
    if cfg.ema is not None:
        callbacks.append(EMAWeightAveraging(cfg.ema))
    callbacks += [
        SelfContainedCheckpoint(segmenter),
        TerminateOnNonFinite(data, NON_FINITE_REMEDY),
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
    callbacks += [best, last]  # in this order, so that the last one knows the best
    made: pl.Trainer = instantiate(
        cfg.trainer,
        logger=logger(cfg, run.events),
        callbacks=callbacks,
        plugins=[AtomicCheckpointIO()],
        default_root_dir=str(run.folder),
        reload_dataloaders_every_n_epochs=1,  # the order of an epoch is a function of its number
        use_distributed_sampler=False,  # the data modules see to it
        num_sanity_val_steps=0,
        enable_model_summary=False,
        enable_progress_bar=False,
        _convert_="all",
    )
    announce_batches(cfg, made)
    return made


def announce_batches(cfg: DictConfig, trainer: pl.Trainer) -> None:
    """Say what a step is where several processes share it.

    Raises:
        HypercolumnsError: if they can't.
    """
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


def scorer(cfg: DictConfig) -> Scorer:
    """How the stage scores images."""
    return Scorer(
        machine=machine(cfg),
        num_workers=cfg.num_workers,
        boundary_width=cfg.boundary_width,
        bootstrap_samples=cfg.bootstrap_samples,
        group_pattern=cfg.group_pattern,
        seed=cfg.seed,
    )


def results(cfg: DictConfig, columns: Mapping[str, Any]) -> Results:
    """How the results of a stage are scored and written.

    Args:
        cfg: the config.
        columns: of TensorBoard's table of hyperparameters.
    """
    return Results(scorer(cfg), partial(logger, cfg), columns, per_class=cfg.stage == "evaluate")
