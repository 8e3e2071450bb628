"""The stages of train.py, and predict.py's task. The function of each module turns a config into files on disk."""

from collections.abc import Callable
from importlib import import_module
from typing import Any

from omegaconf import DictConfig

from hypercolumns.errors import HypercolumnsError

FUNCTIONS = {"all": "run_all", "compare": "compare_runs"}  # the functions that do not have the name of their stage


def stage_function(stage: str) -> Callable[[DictConfig], Any]:
    """Import the module of a stage, and no other stage, and return the function that runs it."""
    function: Callable[[DictConfig], Any] = getattr(import_module(f"{__name__}.{stage}"), FUNCTIONS.get(stage, stage))
    return function


def run_stage(cfg: DictConfig) -> float | None:
    """Run the stage that the config names, and return the mIoU of its run; None if the stage scores no images."""
    from hypercolumns.settings.compose import is_sweep_job  # imported here, as predict.py does not need it

    if is_sweep_job():
        from hypercolumns.sweeps.jobs import run_job

        result = run_job(cfg, _run)
    elif cfg.get("search") is not None:
        raise HypercolumnsError("search=optuna needs -m; start it as python train.py -m search=optuna ...")
    else:
        result = _run(cfg)
    miou: float | None = getattr(result, "miou", None)
    return miou


def _run(cfg: DictConfig) -> Any:
    return stage_function(cfg.stage)(cfg)
