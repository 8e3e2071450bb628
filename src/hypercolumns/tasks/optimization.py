"""Helpers of the training tasks: optimiser with schedule, step indices for seeds, and logging of per-class metrics."""

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import pytorch_lightning as pl
from torch import distributed
from torch.optim import Optimizer

from hypercolumns.tasks.param_groups import ParamGroup
from hypercolumns.tasks.schedules import SchedulerFactory

OptimizerFactory = Callable[[Iterable[dict[str, Any]]], Optimizer]  # takes the options of parameter groups


def optimizer_with_schedule(
    groups: Sequence[ParamGroup], make_optimizer: OptimizerFactory, make_scheduler: SchedulerFactory, steps: int
) -> dict[str, Any]:
    """Build the return value of `LightningModule.configure_optimizers`.

    The schedule advances after every optimiser step, and scales the learning rates of all groups by the same factor.

    Args:
        groups: the parameter groups.
        make_optimizer: builds the optimiser from the groups' options.
        make_scheduler: builds the schedule from the optimiser and `steps`.
        steps: the number of optimiser steps of the whole training.

    Returns:
        The optimiser under `optimizer`, and Lightning's scheduler config under `lr_scheduler`.
    """
    optimizer = make_optimizer([group.options for group in groups])
    for options, group in zip(optimizer.param_groups, groups, strict=True):
        options["lr"] *= group.factor
    lr_scheduler = {"scheduler": make_scheduler(optimizer, steps), "interval": "step", "name": "train/learning_rate"}
    return {"optimizer": optimizer, "lr_scheduler": lr_scheduler}


def rank_step_index(batch_idx: int) -> int:
    """Number a batch uniquely among the batches of all ranks in an epoch: `batch_idx * world_size + rank`."""
    if not distributed.is_initialized():
        return batch_idx
    return batch_idx * distributed.get_world_size() + distributed.get_rank()


def log_classes(task: pl.LightningModule, group: str, classes: Sequence[str], values: Sequence[float | None]) -> None:
    """Log one metric for each class, under the name `<group>/<class name>`.

    Args:
        task: the task that logs.
        group: the metric's name, such as `val_iou`.
        classes: the names of the classes.
        values: the metric of each class. None is logged as NaN: without a new value, Lightning would show the value of
            an earlier epoch.
    """
    for name, value in zip(classes, values, strict=True):
        task.log(f"{group}/{name}", math.nan if value is None else value)
