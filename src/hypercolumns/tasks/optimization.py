"""Functions of both training tasks, which build the optimiser, number the batches, and log a metric for each class."""

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import pytorch_lightning as pl
from torch import distributed
from torch.optim import Optimizer

from hypercolumns.data import ResumableDataModule, TrainingPosition
from hypercolumns.tasks.param_groups import ParamGroup
from hypercolumns.tasks.schedules import SchedulerFactory

# Builds an optimiser from the options of parameter groups, see `ParamGroup.options`.
OptimizerFactory = Callable[[Iterable[dict[str, Any]]], Optimizer]


def optimizer_with_schedule(
    groups: Sequence[ParamGroup], make_optimizer: OptimizerFactory, make_scheduler: SchedulerFactory, steps: int
) -> dict[str, Any]:
    """Build the optimiser and its schedule, in the form that `LightningModule.configure_optimizers` returns.

    The schedule advances after every optimiser step, and scales the learning rates of all groups by the same factor.

    Args:
        groups: the parameter groups.
        make_optimizer: a function that builds the optimiser from the options of the groups.
        make_scheduler: a function that builds the schedule from the optimiser and `steps`.
        steps: the number of optimiser steps of the whole training.

    Returns:
        A dictionary with the optimiser under `optimizer` and Lightning's scheduler config under `lr_scheduler`.
    """
    optimizer = make_optimizer([group.options for group in groups])
    _fuse_on_cpu(optimizer)
    for options, group in zip(optimizer.param_groups, groups, strict=True):
        options["lr"] *= group.factor
    lr_scheduler = {"scheduler": make_scheduler(optimizer, steps), "interval": "step", "name": "train/learning_rate"}
    return {"optimizer": optimizer, "lr_scheduler": lr_scheduler}


def remaining_steps(trainer: pl.Trainer) -> int:
    """Return the number of optimizer steps from the position of the data module to the last epoch.

    A training that goes on from a checkpoint of another training begins after some epochs.
    """
    steps = int(trainer.estimated_stepping_batches)
    data = trainer.datamodule  # type: ignore[attr-defined]
    position = data.position if isinstance(data, ResumableDataModule) else TrainingPosition()
    if position == TrainingPosition():
        return steps
    per_epoch = math.ceil(trainer.num_training_batches / trainer.accumulate_grad_batches)
    done = position.epoch * per_epoch + position.batches // trainer.accumulate_grad_batches
    return max(steps - done, 1)


def _fuse_on_cpu(optimizer: Optimizer) -> None:
    """Let an optimiser of torch use its fused kernel for parameters on a CPU, unless the settings choose a kernel.

    AdamW's step then takes a fifth of the time. On GPUs, the choice is left to torch. The argument `fused` of torch's
    optimisers would do more: Lightning does not clip the gradients of an optimiser that was built with it if the
    precision is mixed, even without a gradient scaler.
    """
    for group in optimizer.param_groups:
        undecided = all(group.get(name, False) is None for name in ("fused", "foreach"))
        on_cpu = all(parameter.device.type == "cpu" for parameter in group["params"])
        if undecided and on_cpu and not group.get("differentiable"):
            group["fused"] = True


def rank_step_index(batch_idx: int) -> int:
    """Return the number of this rank's batch among the batches of all ranks in an epoch, from 0.

    The number is `batch_idx * world_size + rank`. No other batch of the epoch has the same number on any rank.
    """
    if not distributed.is_initialized():
        return batch_idx
    return batch_idx * distributed.get_world_size() + distributed.get_rank()


def log_classes(task: pl.LightningModule, group: str, classes: Sequence[str], values: Sequence[float | None]) -> None:
    """Log the values of a metric, one for each class, under the names `<group>/<class name>`.

    Args:
        task: the task whose `log` is called.
        group: the name of the metric, such as `val_iou`.
        classes: the names of the classes.
        values: the value of the metric for each class; None: the metric is not defined for the class. None is logged as
            NaN. If nothing were logged, Lightning would show the value of an earlier epoch.
    """
    for name, value in zip(classes, values, strict=True):
        task.log(f"{group}/{name}", math.nan if value is None else value)
