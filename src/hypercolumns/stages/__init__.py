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
    from hypercolumns.settings.compose import is_sweep_job  # imported here, to keep this package cheap to import

    if is_sweep_job():
        from hypercolumns.sweeps.jobs import run_job

        result = run_job(cfg, stage_result)
    else:
        result = stage_result(cfg)
    miou: float | None = getattr(result, "miou", None)
    return miou


def stage_result(cfg: DictConfig) -> Any:
    """Run the stage that the config names, and return what its function returns: for a training, the `runs.run.Run`."""
    from hypercolumns.runtime.memory import keep_freed_memory
    from hypercolumns.settings.compose import command_line, is_sweep_job

    if cfg.get("search") is not None and not is_sweep_job():
        command = command_line(["-m", "search=optuna"])
        raise HypercolumnsError(f"search=optuna needs -m; start the search as {command} ...")
    keep_freed_memory()
    return stage_function(cfg.stage)(cfg)
