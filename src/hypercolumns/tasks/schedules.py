"""Learning-rate schedules: a linear warm-up, followed by a cosine decay or a polynomial decay."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from hypercolumns.errors import check_fraction

SchedulerFactory = Callable[[Optimizer, int], LambdaLR]  # from the optimiser and its number of steps


def cosine(
    optimizer: Optimizer,
    steps: int,
    warmup_fraction: float = 0.0,
    min_lr_ratio: float = 0.0,
    warmup_start: float = 0.0,
) -> LambdaLR:
    """Decay the learning rate along half a cosine after a linear warm-up (Loshchilov and Hutter, arXiv:1608.03983).

    Args:
        optimizer: the optimiser. Its learning rates are the base rates of the schedule.
        steps: the number of optimiser steps of the training.
        warmup_fraction: the length of the warm-up as a fraction of `steps`, in [0, 1]. During the warm-up, the rate
            rises linearly to the base rate.
        min_lr_ratio: the final rate as a fraction of the base rate, in [0, 1]; 1 keeps the rate constant.
        warmup_start: the rate from which the warm-up rises, as a fraction of the base rate, in [0, 1].

    Returns:
        The schedule. Call its `step` after every optimiser step.
    """
    return LambdaLR(optimizer, _Cosine(steps, warmup_fraction, min_lr_ratio, warmup_start))


def poly(
    optimizer: Optimizer,
    steps: int,
    warmup_fraction: float = 0.0,
    min_lr_ratio: float = 0.0,
    power: float = 0.9,
    warmup_start: float = 0.0,
) -> LambdaLR:
    """Decay the learning rate as (1 - progress)^power after a linear warm-up (DeepLab, arXiv:1606.00915).

    The progress rises from 0 at the end of the warm-up to 1 at the end of the training.

    Args:
        optimizer: the optimiser. Its learning rates are the base rates of the schedule.
        steps: the number of optimiser steps of the training.
        warmup_fraction: the length of the warm-up as a fraction of `steps`, in [0, 1]. During the warm-up, the rate
            rises linearly to the base rate.
        min_lr_ratio: the final rate as a fraction of the base rate, in [0, 1]; 1 keeps the rate constant.
        power: the exponent, in [0, 100]; 0 keeps the rate constant after the warm-up.
        warmup_start: the rate from which the warm-up rises, as a fraction of the base rate, in [0, 1].

    Returns:
        The schedule. Call its `step` after every optimiser step.
    """
    check_fraction("power", power, maximum=100)
    return LambdaLR(optimizer, _Poly(steps, warmup_fraction, min_lr_ratio, warmup_start, power))


class _Factor(ABC):
    """The learning rate at each step, divided by the base rate.

    LambdaLR saves the attributes of this object in its state, so a training that resumes after an interruption keeps
    its original number of steps.
    """

    def __init__(self, steps: int, warmup_fraction: float, min_lr_ratio: float, warmup_start: float) -> None:
        check_fraction("warmup_fraction", warmup_fraction)
        check_fraction("min_lr_ratio", min_lr_ratio)
        check_fraction("warmup_start", warmup_start)
        self.steps, self.rising = steps, round(warmup_fraction * steps)
        self.end, self.start = min_lr_ratio, warmup_start

    def __call__(self, step: int) -> float:
        if step < self.rising:
            return self.start + (1 - self.start) * (step + 1) / (self.rising + 1)
        progress = min((step - self.rising) / max(self.steps - self.rising, 1), 1.0)
        return self.end + (1 - self.end) * self._decay(progress)

    @abstractmethod
    def _decay(self, progress: float) -> float:
        """Return what is left of the decay, from 1 to 0, after the fraction `progress` of the steps after warm-up."""


class _Cosine(_Factor):
    def _decay(self, progress: float) -> float:
        return (1 + math.cos(math.pi * progress)) / 2


class _Poly(_Factor):
    def __init__(
        self, steps: int, warmup_fraction: float, min_lr_ratio: float, warmup_start: float, power: float
    ) -> None:
        super().__init__(steps, warmup_fraction, min_lr_ratio, warmup_start)
        self.power = power

    def _decay(self, progress: float) -> float:
        return float((1 - progress) ** self.power)
