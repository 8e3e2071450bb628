"""The stages of train.py, and the prediction and the export of predict.py, one per module.

A module has a function that takes a config, does the work, and writes the results to the disk.
"""

from collections.abc import Callable
from importlib import import_module
from typing import Any

from omegaconf import DictConfig

from hypercolumns.errors import HypercolumnsError
from hypercolumns.runtime import imports

FUNCTIONS = {"all": "run_all", "compare": "compare_runs"}  # functions whose name is not the name of their stage


def stage_function(stage: str) -> Callable[[DictConfig], Any]:
    """Return the function that runs a stage. Only the module of this stage is imported."""
    function: Callable[[DictConfig], Any] = getattr(import_module(f"{__name__}.{stage}"), FUNCTIONS.get(stage, stage))
    imports.resume_collections()
    return function


def run_stage(cfg: DictConfig) -> float | None:
    """Run the stage that the config names, and return the mIoU of the run.

    Return None if the stage scores no images, or if this is a job of a sweep and the job failed or was stopped.
    """
    from hypercolumns.runtime.memory import keep_freed_memory  # imported here, to keep this package cheap to import
    from hypercolumns.settings.compose import is_sweep_job

    keep_freed_memory()
    if is_sweep_job():
        from hypercolumns.sweeps.jobs import run_job

        result = run_job(cfg, _run)
    elif cfg.get("search") is not None:
        raise HypercolumnsError("search=optuna needs -m; start the search as python train.py -m search=optuna ...")
    else:
        result = _run(cfg)
    miou: float | None = getattr(result, "miou", None)
    return miou


def _run(cfg: DictConfig) -> Any:
    return stage_function(cfg.stage)(cfg)
