import math

import pytest
import torch
import torch.nn.functional as F

from hypercolumns.tasks import schedules
from hypercolumns.tasks.optimization import balanced_weights, cross_entropy

LOGITS = torch.tensor([[2.0, 0.0, -1.0], [0.0, 1.0, 0.0], [0.5, 0.5, 0.0], [1.0, 2.0, 3.0]])


def test_void_is_left_out():
    labels = torch.tensor([0, 255, 1, 255])
    expected = F.cross_entropy(LOGITS[[0, 2]], labels[[0, 2]])
    assert torch.allclose(cross_entropy(LOGITS, labels, None), expected)


def test_nothing_but_void_costs_nothing():
    logits = LOGITS.clone().requires_grad_()
    loss = cross_entropy(logits, torch.full((4,), 255), "batch")
    loss.backward()
    assert loss == 0
    assert (logits.grad == 0).all()


def test_class_weights_are_torchs():
    labels, weights = torch.tensor([0, 1, 1, 255]), torch.tensor([3.0, 1.0, 0.0])
    expected = F.cross_entropy(LOGITS, labels, weights, ignore_index=255)
    assert torch.allclose(cross_entropy(LOGITS, labels, weights), expected)


def test_batch_weights_make_each_class_of_the_batch_count_alike():
    labels = torch.tensor([0, 1, 1, 255])
    losses = F.cross_entropy(LOGITS, labels.where(labels != 255, 0), reduction="none")
    expected = (losses[0] + (losses[1] + losses[2]) / 2) / 2
    assert torch.allclose(cross_entropy(LOGITS, labels, "batch"), expected)


def test_balanced_weights_by_hand():
    assert balanced_weights(torch.tensor([6, 2, 0])).tolist() == pytest.approx([8 / 12, 8 / 4, 0])


@pytest.mark.parametrize(
    ("schedule", "arguments", "expected"),
    [
        (schedules.constant, {}, [1, 1, 1, 1, 1]),
        (schedules.cosine, {}, [1, (1 + math.cos(math.pi / 4)) / 2, 0.5, (1 - math.cos(math.pi / 4)) / 2, 0]),
        (schedules.cosine, {"floor": 0.2}, [1, None, 0.6, None, 0.2]),
        (schedules.poly, {"power": 2}, [1, 9 / 16, 1 / 4, 1 / 16, 0]),
        (schedules.poly, {"power": 1, "warmup": 0.5}, [1 / 3, 2 / 3, 1, 0.5, 0]),
    ],
)
def test_schedules_by_hand(schedule, arguments, expected):
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=2.0)
    scheduler = schedule(optimizer, 4, **arguments)
    for factor in expected:
        if factor is not None:
            assert scheduler.get_last_lr()[0] == pytest.approx(2 * factor)
        optimizer.step()
        scheduler.step()
