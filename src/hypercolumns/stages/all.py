"""Stage all: run extract, pretrain, train, average and refine, as far as the settings ask for them."""

from omegaconf import DictConfig, OmegaConf

from hypercolumns.errors import HypercolumnsError, setting_prefix
from hypercolumns.io.files import expand_path
from hypercolumns.models.model_file import find_model
from hypercolumns.overrides import format_override
from hypercolumns.runs.run import Run
from hypercolumns.runtime.progress import console
from hypercolumns.settings.check import check_settings
from hypercolumns.settings.compose import compose_part, compose_stage, local_path, overrides
from hypercolumns.settings.continuation import earlier_run
from hypercolumns.settings.inference import quiet_libraries
from hypercolumns.settings.model import check_fine_tuning
from hypercolumns.settings.monitor import with_own_monitor
from hypercolumns.settings.schema import setting_of
from hypercolumns.settings.start import SCRATCH
from hypercolumns.settings.training import check_training
from hypercolumns.stages.average import average
from hypercolumns.stages.extract import extract
from hypercolumns.stages.pretrain import pretrain
from hypercolumns.stages.refine import refine
from hypercolumns.stages.train import train
from hypercolumns.store import INDEX


def run_all(cfg: DictConfig) -> Run:
    """Run extract, pretrain and train, each on the result of the stage before it, and return the run of the last stage.

    A finished store in the folder `samples` is not extracted again. If `init_from` is set, extract and pretrain are
    left out, because the start of train is then no result of theirs. With `trainings` above 1, train runs with several
    seeds, and average follows. With `second_pass`, refine follows at the end. From the command line, a stage gets only
    the settings that it uses, and `monitor` only if it has this metric.

    Raises:
        HypercolumnsError: if `last_stage` leaves out train, but `init_from` or `trainings` needs it; if there is no
            model `init_from`; or if none of the stages has the metric that `monitor` names.
    """
    check_settings(cfg)
    quiet_libraries()
    earlier_run(cfg)  # refuses every run, because only one of the stages could go on from it
    if cfg.last_stage == "pretrain":
        _check_without_train(cfg)
    run = _train_first_pass(cfg)
    return refine(compose_part(cfg, "refine", model=str(run.folder)), run) if cfg.second_pass else run


def _check_without_train(cfg: DictConfig) -> None:
    """Check that no setting needs stage train, which last_stage=pretrain leaves out."""
    if cfg.init_from is not None:
        raise HypercolumnsError(
            f"init_from={cfg.init_from} names the start of stage train, but last_stage=pretrain leaves out this "
            f"stage; add last_stage=train, or leave out init_from{_instead(str(cfg.init_from))}"
        )
    if cfg.trainings > 1 and any(setting_of(override) == "trainings" for override in overrides()):
        raise HypercolumnsError(
            f"trainings={cfg.trainings} is a number of trainings by stage train, but last_stage=pretrain leaves out "
            f"this stage; add last_stage=train, or leave out trainings"
        )


def _train_first_pass(cfg: DictConfig) -> Run:
    """Run all stages before refine, and return the run of the last one."""
    if cfg.init_from is not None:
        console.print(f"all: init_from={cfg.init_from} leaves out the stages extract and pretrain", markup=False)
        return _train_several(cfg, compose_stage("train", init_from=str(cfg.init_from)))
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
    return pretrained if cfg.last_stage == "pretrain" else _train_several(cfg, to_train, pretrained)


def _train_several(cfg: DictConfig, to_train: DictConfig, pretrained: Run | None = None) -> Run:
    """Run train as often as `trainings` says, each time with another seed; if more than once, also average.

    Args:
        cfg: the config of stage all.
        to_train: the config of stage train.
        pretrained: the run to start from; None: `init_from` names the start.

    Returns:
        The run of average, or of the only training.
    """
    if cfg.trainings == 1:
        return train(to_train, pretrained)
    OmegaConf.resolve(to_train)  # what depends on the seed, such as cnn.seed, is the same in all trainings
    runs: list[Run] = []
    for seed in range(cfg.seed, cfg.seed + cfg.trainings):
        console.print(f"all: training {len(runs) + 1} of {cfg.trainings}, seed={seed}", markup=False)
        to_train.seed = seed
        runs.append(train(to_train, pretrained, averaged=True))
    return average(compose_part(cfg, "average", models=[str(run.folder) for run in runs]))


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
