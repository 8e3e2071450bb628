"""Helpers shared by the tasks: optimiser and schedule, a step index per rank, and logging of per-class metrics."""

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import pytorch_lightning as pl
from torch import distributed
from torch.optim import Optimizer

from hypercolumns.tasks.param_groups import ParamGroup
from hypercolumns.tasks.schedules import SchedulerFactory

OptimizerFactory = Callable[[Iterable[dict[str, Any]]], Optimizer]  # takes parameter groups


def optimizer_with_schedule(
    groups: Sequence[ParamGroup], make_optimizer: OptimizerFactory, make_scheduler: SchedulerFactory, steps: int
) -> dict[str, Any]:
    """Build the return value of `LightningModule.configure_optimizers`.

    The schedule advances at every step, and scales the learning rates of all groups by the same factor.

    Args:
        groups: the parameter groups.
        make_optimizer: builds the optimiser from the groups' options.
        make_scheduler: builds the schedule from the optimiser and the number of steps.
        steps: the number of steps of the training.

    Returns:
        The optimiser under `optimizer`, and Lightning's scheduler config under `lr_scheduler`.
    """
    optimizer = make_optimizer([group.options for group in groups])
    for options, group in zip(optimizer.param_groups, groups, strict=True):
        options["lr"] *= group.factor
    lr_scheduler = {"scheduler": make_scheduler(optimizer, steps), "interval": "step", "name": "train/learning_rate"}
    return {"optimizer": optimizer, "lr_scheduler": lr_scheduler}


def rank_step_index(batch_idx: int) -> int:
    """Return a step index that is unique across ranks (`batch_idx * world_size + rank`), to seed dropout with."""
    if not distributed.is_initialized():
        return batch_idx
    return batch_idx * distributed.get_world_size() + distributed.get_rank()


def log_classes(task: pl.LightningModule, group: str, classes: Sequence[str], values: Sequence[float | None]) -> None:
    """Log a metric of each class as `group/class`.

    Args:
        task: the task that logs.
        group: the name before the slash.
        classes: the names of the classes.
        values: one value per class. None is logged as NaN, because Lightning would otherwise keep the earlier value.
    """
    for name, value in zip(classes, values, strict=True):
        task.log(f"{group}/{name}", math.nan if value is None else value)
