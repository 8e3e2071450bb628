"""Learning rates over the steps of a training: warm-up, then constant, cosine or polynomial decay."""

import math
from collections.abc import Callable

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from hypercolumns.errors import check_share

Schedule = Callable[[Optimizer, int], LambdaLR]


def constant(optimizer: Optimizer, steps: int, warmup: float = 0.0) -> LambdaLR:
    """The rate as it is; rising linearly to it during the first `warmup` (a share of all `steps`)."""
    return _schedule(optimizer, steps, warmup, lambda progress: 1.0)


def cosine(optimizer: Optimizer, steps: int, warmup: float = 0.0, floor: float = 0.0) -> LambdaLR:
    """From the rate down to `floor` times it, along half a cosine (Loshchilov and Hutter, arXiv:1608.03983)."""
    check_share("scheduler.floor", floor)
    return _schedule(
        optimizer, steps, warmup, lambda progress: floor + (1 - floor) * (1 + math.cos(math.pi * progress)) / 2
    )


def poly(optimizer: Optimizer, steps: int, warmup: float = 0.0, power: float = 0.9) -> LambdaLR:
    """From the rate down to 0 by (1 - progress)^power (Chen et al., DeepLab, arXiv:1606.00915)."""
    check_share("scheduler.power", power, most=100)
    return _schedule(optimizer, steps, warmup, lambda progress: (1 - progress) ** power)


def _schedule(optimizer: Optimizer, steps: int, warmup: float, decay: Callable[[float], float]) -> LambdaLR:
    check_share("scheduler.warmup", warmup)
    rising = round(warmup * steps)

    def factor(step: int) -> float:
        if step < rising:
            return (step + 1) / (rising + 1)
        return decay(min((step - rising) / max(steps - rising, 1), 1.0))

    return LambdaLR(optimizer, factor)
