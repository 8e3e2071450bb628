"""The stages: what the entry points do, from a config to files on disk."""

from typing import Any

from omegaconf import DictConfig

from hypercolumns.stages.all import run_all
from hypercolumns.stages.extract import extract
from hypercolumns.stages.predict import predict
from hypercolumns.stages.pretrain import pretrain
from hypercolumns.stages.train import train

__all__ = ["predict", "run_stage"]


def run_stage(cfg: DictConfig) -> Any:
    """Run the stage that the config names; returns its figure, if it has one."""
    stages = {"all": run_all, "extract": extract, "pretrain": pretrain, "train": train}
    return stages[cfg.stage](cfg)
