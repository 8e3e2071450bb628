"""What the tasks share: the optimiser with its schedule, whose chance a step is, and figures of classes."""

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import pytorch_lightning as pl
from torch import distributed
from torch.optim import Optimizer

from hypercolumns.tasks.param_groups import ParamGroup
from hypercolumns.tasks.schedules import SchedulerFactory

OptimizerFactory = Callable[[Iterable[dict[str, Any]]], Optimizer]  # of groups of parameters


def optimizer_with_schedule(
    groups: Sequence[ParamGroup], make_optimizer: OptimizerFactory, make_scheduler: SchedulerFactory, steps: int
) -> dict[str, Any]:
    """What `LightningModule.configure_optimizers` returns: the schedule moves at every step, alike for all groups."""
    optimizer = make_optimizer([group.options for group in groups])
    for options, group in zip(optimizer.param_groups, groups, strict=True):
        options["lr"] *= group.factor
    lr_scheduler = {"scheduler": make_scheduler(optimizer, steps), "interval": "step", "name": "train/learning_rate"}
    return {"optimizer": optimizer, "lr_scheduler": lr_scheduler}


def rank_step_index(batch_idx: int) -> int:
    """A step index that is unique across ranks (`batch_idx * world_size + rank`), to seed dropout by."""
    if not distributed.is_initialized():
        return batch_idx
    return batch_idx * distributed.get_world_size() + distributed.get_rank()


def log_classes(task: pl.LightningModule, group: str, classes: Sequence[str], figures: Sequence[float | None]) -> None:
    """Log a figure of each class, as group/class; NaN where it has none, or Lightning would keep that of before."""
    for name, figure in zip(classes, figures, strict=True):
        task.log(f"{group}/{name}", math.nan if figure is None else figure)
