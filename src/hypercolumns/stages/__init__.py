"""The stages of train.py, and what predict.py does, one module each: from a config to files on disk."""

from collections.abc import Callable
from importlib import import_module
from typing import Any

from omegaconf import DictConfig

from hypercolumns.errors import HypercolumnsError

FUNCTIONS = {"all": "run_all", "compare": "compare_runs"}  # of stages whose function is not called as the stage


def stage_function(stage: str) -> Callable[[DictConfig], Any]:
    """The function that runs a stage; its module is imported now, and those of other stages are not."""
    function: Callable[[DictConfig], Any] = getattr(import_module(f"{__name__}.{stage}"), FUNCTIONS.get(stage, stage))
    return function


def run_stage(cfg: DictConfig) -> float | None:
    """Run the stage that the config names; returns its mIoU on the val images, if it has one."""
    from hypercolumns.settings.compose import is_sweep_job  # so that predict.py, too, imports what it needs alone

    if is_sweep_job():
        from hypercolumns.sweeps.jobs import run_job

        made = run_job(cfg, _run)
    elif cfg.get("search") is not None:
        raise HypercolumnsError("search=optuna goes with -m: python train.py -m search=optuna ...")
    else:
        made = _run(cfg)
    miou: float | None = getattr(made, "miou", None)
    return miou


def _run(cfg: DictConfig) -> Any:
    return stage_function(cfg.stage)(cfg)
