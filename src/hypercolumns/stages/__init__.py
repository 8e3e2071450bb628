"""The stages: what the entry points do, from a config to files on disk.

No stage is imported before it runs: each takes seconds to import, and predict.py needs none of the others.
"""

from collections.abc import Callable
from functools import partial
from importlib import import_module
from typing import Any

from omegaconf import DictConfig

from hypercolumns.errors import HypercolumnsError
from hypercolumns.runs.environment import is_job_of_sweep

__all__ = ["run_stage"]


def _import_and_run(module: str, function: str, cfg: DictConfig) -> Any:
    return getattr(import_module(f"hypercolumns.stages.{module}"), function)(cfg)


STAGES: dict[str, Callable[[DictConfig], Any]] = {
    "all": partial(_import_and_run, "all", "run_all"),
    "extract": partial(_import_and_run, "extract", "extract"),
    "pretrain": partial(_import_and_run, "pretrain", "pretrain"),
    "train": partial(_import_and_run, "train", "train"),
    "evaluate": partial(_import_and_run, "evaluate", "evaluate"),
    "compare": partial(_import_and_run, "compare", "compare_runs"),
    "rank_taps": partial(_import_and_run, "rank_taps", "rank_taps"),
    "verify": partial(_import_and_run, "verify", "verify"),
    "validate": partial(_import_and_run, "validate", "validate"),
}


def run_stage(cfg: DictConfig) -> float | None:
    """Run the stage that the config names; returns its mIoU on the val images, if it has one."""
    from hypercolumns.runs.run import Run
    from hypercolumns.sweeps.jobs import run_job

    made = run_job(cfg, _run) if is_job_of_sweep() else _run(cfg)
    return made.miou if isinstance(made, Run) else None


def _run(cfg: DictConfig) -> Any:
    if cfg.get("search") is not None and not is_job_of_sweep():
        raise HypercolumnsError("search=optuna goes with -m: python train.py -m search=optuna ...")
    return STAGES[cfg.stage](cfg)
