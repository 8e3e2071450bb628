import pytest
import torch

from hypercolumns.tasks.running_metrics import WeightedMean


def test_the_mean_is_weighted_and_keeps_nan():
    mean = WeightedMean()
    for figure, weight in ((1.5, 63), (2.5, 64), (9.0, 0)):
        mean.update(torch.tensor(figure), weight)
    assert mean.compute() == pytest.approx((1.5 * 63 + 2.5 * 64) / 127)
    mean.update(torch.tensor(float("nan")), 1)
    assert mean.compute().isnan()
