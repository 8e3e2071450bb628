"""The metric that chooses the best epoch of a training, the setting `monitor`."""

from collections.abc import Sequence
from typing import Any

from omegaconf import DictConfig
from pytorch_lightning.callbacks import LambdaCallback

from hypercolumns.errors import HypercolumnsError
from hypercolumns.tasks import VAL_METRICS

KNOWN_CALLBACKS = ("hypercolumns.", "pytorch_lightning.")  # modules whose callbacks log no metric of their own


def check_monitor(cfg: DictConfig, callbacks: Sequence[Any]) -> None:
    """Check that `monitor` is a metric of the stage, or that a callback of the user's may log it.

    Raises:
        HypercolumnsError: if nothing logs the metric.
    """
    metrics = VAL_METRICS[cfg.stage]
    may_log = any(
        isinstance(callback, LambdaCallback) or not type(callback).__module__.startswith(KNOWN_CALLBACKS)
        for callback in callbacks
    )
    if cfg.monitor not in metrics and not may_log:
        raise HypercolumnsError(
            f"monitor={cfg.monitor} is not a metric of stage {cfg.stage}; choose one of {', '.join(metrics)}"
        )


def with_own_monitor(cfg: DictConfig) -> DictConfig:
    """Set `monitor` to the default of the stage if it is a metric of another stage only, and return the config.

    A command that runs several stages gives the same `monitor` to each of them.
    """
    own = VAL_METRICS.get(cfg.stage)
    if own is not None and cfg.monitor not in own and any(cfg.monitor in names for names in VAL_METRICS.values()):
        cfg.monitor = own[0]
    return cfg
