"""The optimizer that a config describes."""

import pytest
import torch
from helpers.small_runs import config

from hypercolumns.settings.training import optimization


def optimizer(*settings, device="cpu"):
    parameter = torch.nn.Parameter(torch.zeros(3, device=device))
    return optimization(config("train", "stage=pretrain", *settings))["optimizer"]([{"params": [parameter]}])


@pytest.mark.parametrize("kind", ["adam", "adamw", "sgd"])
def test_optimizers_are_fused_on_a_cpu_only(kind):
    assert optimizer(f"optimizer={kind}").defaults["fused"] is True
    assert optimizer(f"optimizer={kind}", device="meta").defaults["fused"] is None


@pytest.mark.parametrize("setting", ["fused=false", "foreach=true", "differentiable=true"])
def test_settings_of_the_kernel_are_kept(setting):
    name, value = setting.split("=")
    defaults = optimizer(f"+optimizer.{setting}").defaults
    assert defaults[name] is (value == "true")
    assert not defaults["fused"]


def test_other_optimizers_are_built():
    assert isinstance(optimizer("optimizer._target_=torch.optim.RAdam"), torch.optim.RAdam)
