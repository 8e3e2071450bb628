"""Stage all: extract, pretrain, train."""

from hydra import compose
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from hypercolumns.stages.extract import extract
from hypercolumns.stages.pretrain import pretrain
from hypercolumns.stages.train import train


def run_all(cfg: DictConfig) -> float | None:
    """Run each stage with a config of its own, composed of the same overrides; returns the last one's mIoU."""
    extract(_compose("extract"))
    pretrain(_compose("pretrain"))
    return train(_compose("train"))


def _compose(stage: str) -> DictConfig:
    hydra = HydraConfig.get()
    overrides = [override for override in hydra.overrides.task if not override.startswith("stage=")]
    return compose(hydra.job.config_name, overrides=[*overrides, f"stage={stage}"])
