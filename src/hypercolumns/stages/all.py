"""Stage all: run extract, pretrain and, unless last_stage=pretrain, train."""

from omegaconf import DictConfig

from hypercolumns.runs.run import Run
from hypercolumns.settings.check import check_settings
from hypercolumns.settings.compose import compose_stage, local_path
from hypercolumns.settings.continuation import earlier_run
from hypercolumns.settings.training import check_training
from hypercolumns.stages.extract import extract
from hypercolumns.stages.pretrain import pretrain
from hypercolumns.stages.train import train
from hypercolumns.store import INDEX


def run_all(cfg: DictConfig) -> Run:
    """Run extract, pretrain and train, each on the result of the stage before it, and return the run of the last one.

    A finished store in the folder `samples` is not extracted again. If `init_from` is set, train starts from that model
    instead of the pretrained model. From the command line, a stage gets only the settings that it
    uses.
    """
    check_settings(cfg)
    earlier_run(cfg)  # refuses every run, because only one of the stages could go on from it
    for stage in ("pretrain", "train"):
        if stage == "pretrain" or cfg.last_stage == "train":
            check_training(compose_stage(stage))
    finished = cfg.samples is not None and (local_path(cfg, "samples") / INDEX).is_file()
    samples = cfg.samples if finished else extract(compose_stage("extract"))
    pretrained = pretrain(compose_stage("pretrain", samples=str(samples)))
    if cfg.last_stage == "pretrain":
        return pretrained
    return train(compose_stage("train", init_from=str(cfg.init_from or pretrained.model)))
