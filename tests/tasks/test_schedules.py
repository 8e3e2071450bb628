import math

import pytest
import torch

from hypercolumns.tasks import schedules


@pytest.mark.parametrize(
    ("schedule", "arguments", "expected"),
    [
        (schedules.cosine, {"min_lr_ratio": 1}, [1, 1, 1, 1, 1]),
        (schedules.cosine, {}, [1, (1 + math.cos(math.pi / 4)) / 2, 0.5, (1 - math.cos(math.pi / 4)) / 2, 0]),
        (schedules.cosine, {"min_lr_ratio": 0.2}, [1, None, 0.6, None, 0.2]),
        (schedules.poly, {"power": 2}, [1, 9 / 16, 1 / 4, 1 / 16, 0]),
        (schedules.poly, {"power": 2, "min_lr_ratio": 0.2}, [1, 0.65, 0.4, 0.25, 0.2]),
        (schedules.poly, {"power": 1, "warmup_fraction": 0.5}, [1 / 3, 2 / 3, 1, 0.5, 0]),
        (schedules.poly, {"power": 1, "warmup_fraction": 0.5, "warmup_start": 0.4}, [0.6, 0.8, 1, 0.5, 0]),
        (schedules.cosine, {"warmup_fraction": 0.25, "warmup_start": 0.5}, [0.75, 1, 0.75, 0.25, 0]),
        (schedules.poly, {"min_lr_ratio": 1, "warmup_fraction": 0.75, "warmup_start": 0.2}, [0.4, 0.6, 0.8, 1, 1]),
    ],
)
def test_schedules_match_hand_computed_factors(schedule, arguments, expected):
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=2.0)
    scheduler = schedule(optimizer, 4, **arguments)
    for factor in expected:
        if factor is not None:
            assert scheduler.get_last_lr()[0] == pytest.approx(2 * factor)
        optimizer.step()
        scheduler.step()
