import pytest
import torch

from hypercolumns.tasks.running_metrics import WeightedMean


def test_weighted_mean_propagates_nan():
    mean = WeightedMean()
    for value, weight in ((1.5, 63), (2.5, 64), (9.0, 0)):
        mean.update(torch.tensor(value), weight)
    assert mean.compute() == pytest.approx((1.5 * 63 + 2.5 * 64) / 127)
    mean.update(torch.tensor(float("nan")), 1)
    assert mean.compute().isnan()
