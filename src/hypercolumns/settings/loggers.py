"""Build the loggers of a run from the setting `logger`."""

import importlib.util
import inspect
from collections.abc import Mapping
from functools import partial
from typing import Any

from hydra.errors import InstantiationException
from hydra.utils import get_class
from omegaconf import DictConfig
from pytorch_lightning.loggers import Logger, MLFlowLogger, WandbLogger

from hypercolumns.errors import HypercolumnsError, summarize_error
from hypercolumns.loggers import RunLoggers
from hypercolumns.runs.run import Run
from hypercolumns.settings.compose import part, plain

# The packages of loggers that are not installed with this project, and the names of the extras that install them.
PACKAGES = {WandbLogger: "wandb", MLFlowLogger: "mlflow"}


def run_loggers(cfg: DictConfig, run: Run, columns: Mapping[str, Any]) -> RunLoggers:
    """Prepare the loggers of a run.

    Args:
        cfg: the config.
        run: the run, to whose folder `events` the loggers write.
        columns: the hyperparameters of the run, by their names.

    Returns:
        The loggers, which are built when they are first needed.
    """
    makers = {name: partial(_make, name, settings, run) for name, settings in _chosen(cfg).items()}
    return RunLoggers(makers, run.folder, columns)


def check_loggers(cfg: DictConfig) -> None:
    """Check that each logger of the setting `logger` can be imported and takes its settings, before any work starts.

    Raises:
        HypercolumnsError: if a logger is not a group of settings with a `_target_` that is a logger's class, if the
            class lacks an argument, or if its package is not installed.
    """
    for name, settings in _chosen(cfg).items():
        if not isinstance(settings, Mapping) or "_target_" not in settings:
            raise HypercolumnsError(
                f"logger.{name}={settings} must be a group of settings with the class of the logger; choose loggers by "
                f"logger=tensorboard, csv, wandb, mlflow, several in brackets (logger=[csv,wandb]) or null, or add "
                f"another by +logger.mine._target_=<its class>"
            )
        kind = _class(name, settings)
        _check_arguments(name, settings, kind)
        for known, package in PACKAGES.items():
            if issubclass(kind, known) and importlib.util.find_spec(package) is None:
                raise HypercolumnsError(
                    f"logger={name} needs {package}; install it with: uv sync --extra {package}, or pip install "
                    f"'.[{package}]'"
                )


def _chosen(cfg: DictConfig) -> dict[str, Any]:
    """Return the settings of each logger, by its name; {} for logger=null."""
    return plain(cfg.get("logger")) or {}


def _class(name: str, settings: Mapping[str, Any]) -> type[Logger]:
    """Import the class of a logger; raise HypercolumnsError if there is none, or if it is no logger."""
    given = f"logger.{name}._target_={settings['_target_']}"
    advice = "give the path of a logger's class, such as pytorch_lightning.loggers.CSVLogger"
    try:
        kind: type = get_class(settings["_target_"])
    except (ImportError, ValueError) as error:
        reason = summarize_error(error.__cause__ or error)
        raise HypercolumnsError(f"{given} can't be imported ({reason}); {advice}") from error
    if not issubclass(kind, Logger):
        raise HypercolumnsError(f"{given} is no logger of Lightning's; {advice}")
    return kind


def _check_arguments(name: str, settings: Mapping[str, Any], kind: type[Logger]) -> None:
    """Raise HypercolumnsError if the class of a logger lacks an argument that the settings give."""
    parameters = inspect.signature(kind).parameters
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
        return
    unknown = [key for key in settings if key not in parameters and not key.startswith("_")]  # _target_ is Hydra's
    if unknown:
        raise HypercolumnsError(
            f"logger.{name}.{unknown[0]} is no argument of {kind.__name__}, which takes {', '.join(parameters)}; leave "
            f"out logger.{name}.{unknown[0]}, or correct its name"
        )


def _make(name: str, settings: Mapping[str, Any], run: Run, id: str | None) -> Logger:
    """Build a logger that writes to the run's folder `events`, and continues the run `id` unless it is None."""
    kind = _class(name, settings)
    run.events.mkdir(parents=True, exist_ok=True)
    offered: dict[str, Any] = {}
    if issubclass(kind, WandbLogger):
        offered = {"name": run.events.name, "id": id}
    elif issubclass(kind, MLFlowLogger):
        offered = {"run_name": run.events.name, "run_id": id}
    if "save_dir" in inspect.signature(kind).parameters:
        offered["save_dir"] = str(run.events)
    more = {key: offered[key] for key in offered.keys() - settings.keys()}
    try:
        logger: Logger = part(f"logger.{name}", settings, **more)
    except InstantiationException as error:  # its text repeats the names of the class and of the setting
        raise error.__cause__ or error from None
    return logger
