"""A `monitor` that is no metric of the stage is refused before any work."""

import re

import pytest
from helpers.paths import CONF
from helpers.small_runs import config
from pytorch_lightning import Callback

from hypercolumns import HypercolumnsError
from hypercolumns.settings.monitor import with_own_monitor
from hypercolumns.settings.training import check_training
from hypercolumns.tasks import VAL_METRICS


class LoggingCallback(Callback):
    """A callback of a user's, which may log a metric of its own."""


@pytest.mark.parametrize("stage", VAL_METRICS)
def test_config_lists_the_metrics_of_the_stage(stage):
    default, listed = re.search(
        r"^monitor: (\S+) # .*: (.*)$", (CONF / f"stage/{stage}.yaml").read_text(), re.M
    ).groups()
    assert tuple(listed.split(" | ")) == VAL_METRICS[stage]
    assert default == VAL_METRICS[stage][0]


@pytest.mark.parametrize("stage", VAL_METRICS)
def test_every_metric_of_the_stage_is_taken(stage):
    for metric in VAL_METRICS[stage]:
        check_training(config("train", f"stage={stage}", f"monitor={metric}"))


@pytest.mark.parametrize(
    ("stage", "metric"), [("pretrain", "val/miou"), ("train", "val/sample_miou"), ("train", "val/x")]
)
def test_other_metric_is_refused_with_the_choices(stage, metric):
    message = f"monitor={metric} is not a metric of stage {stage}; choose one of {', '.join(VAL_METRICS[stage])}"
    with pytest.raises(HypercolumnsError, match=f"^{re.escape(message)}$"):
        check_training(config("train", f"stage={stage}", f"monitor={metric}"))


@pytest.mark.parametrize("target", [f"{__name__}.LoggingCallback", "pytorch_lightning.callbacks.LambdaCallback"])
def test_own_callback_may_log_the_metric(target):
    callback = f"+callbacks.mine._target_={target}"
    check_training(config("train", "stage=train", "monitor=val/x", callback))


@pytest.mark.parametrize(
    ("stage", "metric", "used"),
    [
        ("pretrain", "val/miou_present", "val/sample_miou"),
        ("pretrain", "val/sample_accuracy", "val/sample_accuracy"),
        ("train", "val/sample_accuracy", "val/miou"),
        ("train", "val/loss", "val/loss"),
        ("train", "val/x", "val/x"),
    ],
)
def test_metric_of_another_stage_gives_default(stage, metric, used):
    assert with_own_monitor(config("train", f"stage={stage}", f"monitor={metric}")).monitor == used


def test_stage_without_training_keeps_its_config():
    before = config("train", "stage=extract")
    assert with_own_monitor(before.copy()) == before
