"""The stages: what the entry points do, from a config to files on disk."""

from typing import Any

from omegaconf import DictConfig

from hypercolumns.errors import HypercolumnsError
from hypercolumns.runs.environment import is_job_of_sweep
from hypercolumns.runs.run import Run
from hypercolumns.stages.all import run_all
from hypercolumns.stages.compare import compare_runs
from hypercolumns.stages.evaluate import evaluate
from hypercolumns.stages.extract import extract
from hypercolumns.stages.predict import predict
from hypercolumns.stages.pretrain import pretrain
from hypercolumns.stages.rank_taps import rank_taps
from hypercolumns.stages.train import train
from hypercolumns.stages.validate import validate
from hypercolumns.stages.verify import verify
from hypercolumns.sweeps.jobs import run_job

__all__ = ["predict", "run_stage"]


STAGES = {
    "all": run_all,
    "extract": extract,
    "pretrain": pretrain,
    "train": train,
    "evaluate": evaluate,
    "compare": compare_runs,
    "rank_taps": rank_taps,
    "verify": verify,
    "validate": validate,
}


def run_stage(cfg: DictConfig) -> float | None:
    """Run the stage that the config names; returns its mIoU on the val images, if it has one."""
    made = run_job(cfg, _run) if is_job_of_sweep() else _run(cfg)
    return made.miou if isinstance(made, Run) else None


def _run(cfg: DictConfig) -> Any:
    if cfg.get("search") is not None and not is_job_of_sweep():
        raise HypercolumnsError("search=optuna goes with -m: python train.py -m search=optuna ...")
    return STAGES[cfg.stage](cfg)
