"""Stage all: extract, pretrain and, unless it is told to end before, train."""

from hydra import compose
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from hypercolumns.errors import HypercolumnsError
from hypercolumns.runs import run as runs
from hypercolumns.runs.run import Run
from hypercolumns.settings import build
from hypercolumns.stages.extract import extract
from hypercolumns.stages.pretrain import pretrain
from hypercolumns.stages.train import train
from hypercolumns.store import INDEX

LAST = ("pretrain", "train")


def run_all(cfg: DictConfig) -> Run:
    """Run each stage on what the one before made, with a config of its own, composed of the same overrides."""
    if cfg.until not in LAST:
        raise HypercolumnsError(f"until={cfg.until} must be the last stage of stage=all: {' or '.join(LAST)}")
    finished = cfg.samples is not None and (runs.local_path(cfg, "samples") / INDEX).is_file()
    samples = cfg.samples if finished else extract(compose_stage("extract"))
    pretrained = pretrain(compose_stage("pretrain", samples=str(samples)))
    if cfg.until == "pretrain":
        return pretrained
    return train(compose_stage("train", init_from=str(cfg.init_from or pretrained.model)))


def compose_stage(stage: str, **inputs: str) -> DictConfig:
    """The config of a stage, with the settings of this command and its own."""
    overrides = [override for override in build.overrides() if not override.startswith("stage=")]
    config = compose(HydraConfig.get().job.config_name, overrides=[*overrides, f"stage={stage}"])
    config.update(inputs)
    return config
