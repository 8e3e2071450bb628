"""Learning rates over the steps of a training: warm-up, then constant, cosine or polynomial decay."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from hypercolumns.errors import check_fraction

SchedulerFactory = Callable[[Optimizer, int], LambdaLR]


def constant(optimizer: Optimizer, steps: int, warmup_fraction: float = 0.0) -> LambdaLR:
    """The rate as it is; rising linearly to it during the first `warmup_fraction` (a share of all `steps`)."""
    return LambdaLR(optimizer, _Constant(steps, warmup_fraction, 1))


def cosine(optimizer: Optimizer, steps: int, warmup_fraction: float = 0.0, min_lr_ratio: float = 0.0) -> LambdaLR:
    """From the rate down to `min_lr_ratio` times it, along half a cosine (Loshchilov and Hutter, arXiv:1608.03983)."""
    check_fraction("min_lr_ratio", min_lr_ratio)
    return LambdaLR(optimizer, _Cosine(steps, warmup_fraction, min_lr_ratio))


def poly(optimizer: Optimizer, steps: int, warmup_fraction: float = 0.0, power: float = 0.9) -> LambdaLR:
    """From the rate down to 0 by (1 - progress)^power (Chen et al., DeepLab, arXiv:1606.00915)."""
    check_fraction("power", power, maximum=100)
    return LambdaLR(optimizer, _Poly(steps, warmup_fraction, power))


class _Factor(ABC):
    """What the rate is multiplied by at a step.

    A scheduler's state holds the attributes, so a training that goes on keeps the length that it began with, whatever
    the length of the epoch it goes on in.
    """

    def __init__(self, steps: int, warmup_fraction: float, parameter: float) -> None:
        check_fraction("warmup_fraction", warmup_fraction)
        self.steps, self.rising, self.parameter = steps, round(warmup_fraction * steps), parameter

    def __call__(self, step: int) -> float:
        if step < self.rising:
            return (step + 1) / (self.rising + 1)
        return self._decay(min((step - self.rising) / max(self.steps - self.rising, 1), 1.0))

    @abstractmethod
    def _decay(self, progress: float) -> float:
        """The factor after the warm-up, at a progress from 0 to 1."""


class _Constant(_Factor):
    def _decay(self, progress: float) -> float:
        return self.parameter


class _Cosine(_Factor):
    def _decay(self, progress: float) -> float:
        return self.parameter + (1 - self.parameter) * (1 + math.cos(math.pi * progress)) / 2


class _Poly(_Factor):
    def _decay(self, progress: float) -> float:
        return float((1 - progress) ** self.parameter)
