"""Stage all: run extract, pretrain and, unless last_stage=pretrain, train."""

from omegaconf import DictConfig

from hypercolumns.errors import HypercolumnsError, setting_prefix
from hypercolumns.io.files import expand_path
from hypercolumns.models.model_file import find_model
from hypercolumns.overrides import format_override
from hypercolumns.runs.run import Run
from hypercolumns.runtime.progress import console
from hypercolumns.settings.check import check_settings
from hypercolumns.settings.compose import compose_stage, local_path
from hypercolumns.settings.continuation import earlier_run
from hypercolumns.settings.inference import quiet_libraries
from hypercolumns.settings.model import check_fine_tuning
from hypercolumns.settings.monitor import with_own_monitor
from hypercolumns.settings.start import SCRATCH
from hypercolumns.settings.training import check_training
from hypercolumns.stages.extract import extract
from hypercolumns.stages.pretrain import pretrain
from hypercolumns.stages.train import train
from hypercolumns.store import INDEX


def run_all(cfg: DictConfig) -> Run:
    """Run extract, pretrain and train, each on the result of the stage before it, and return the run of the last one.

    A finished store in the folder `samples` is not extracted again. If `init_from` is set, only train runs, because its
    start is then no result of the other two. From the command line, a stage gets only the settings that it uses, and
    `monitor` only if it has this metric.

    Raises:
        HypercolumnsError: if `init_from` is set, and `last_stage` leaves out train or there is no such model. Also if
            none of the stages has the metric that `monitor` names.
    """
    check_settings(cfg)
    quiet_libraries()
    earlier_run(cfg)  # refuses every run, because only one of the stages could go on from it
    if cfg.init_from is not None:
        if cfg.last_stage == "pretrain":
            raise HypercolumnsError(
                f"init_from={cfg.init_from} names the start of stage train, but last_stage=pretrain leaves out this "
                f"stage; add last_stage=train, or leave out init_from{_instead(str(cfg.init_from))}"
            )
        console.print(f"all: init_from={cfg.init_from} leaves out the stages extract and pretrain", markup=False)
        return train(compose_stage("train", init_from=str(cfg.init_from)))
    to_pretrain = compose_stage("pretrain")
    if cfg.last_stage == "pretrain":
        check_training(to_pretrain)
    else:
        to_train = compose_stage("train")
        for config in (to_pretrain, to_train):
            check_training(with_own_monitor(config))
        check_fine_tuning(to_train)
    finished = cfg.samples is not None and (local_path(cfg, "samples") / INDEX).is_file()
    samples = cfg.samples if finished else extract(compose_stage("extract"))
    to_pretrain.samples = str(samples)
    pretrained = pretrain(with_own_monitor(to_pretrain))
    if cfg.last_stage == "pretrain":
        return pretrained
    return train(to_train, pretrained)


def _instead(init_from: str) -> str:
    """Say how to pretrain with the backbone of the model that `init_from` names.

    Raises:
        HypercolumnsError: if there is no such model.
    """
    if init_from == SCRATCH:
        return ""
    with setting_prefix("init_from="):
        path = find_model(expand_path("init_from", init_from))
    return f"; to pretrain with the backbone of this model, give {format_override('cnn.weights', path)} in its place"
