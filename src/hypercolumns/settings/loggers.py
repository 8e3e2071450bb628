"""Build the loggers of a run from the setting `logger`."""

import importlib.util
import inspect
from collections.abc import Mapping
from functools import partial
from typing import Any

from hydra.utils import get_class
from omegaconf import DictConfig
from pytorch_lightning.loggers import Logger, MLFlowLogger, WandbLogger

from hypercolumns.errors import HypercolumnsError
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
    """Check that each logger of the setting `logger` can be imported, before any work starts.

    Raises:
        HypercolumnsError: if a logger is not a group of settings with a `_target_`, or its package is not installed.
    """
    for name, settings in _chosen(cfg).items():
        if not isinstance(settings, Mapping) or "_target_" not in settings:
            raise HypercolumnsError(
                f"logger.{name}={settings} must be a group of settings with the class of the logger; choose loggers by "
                f"logger=tensorboard, csv, wandb, mlflow, several in brackets (logger=[csv,wandb]) or null, or add "
                f"another by +logger.mine._target_=<its class>"
            )
        kind = _class(name, settings)
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
    try:
        kind: type[Logger] = get_class(settings["_target_"])
    except (ImportError, ValueError) as error:
        raise HypercolumnsError(
            f"logger.{name}._target_={settings['_target_']} can't be imported ({error}); give the path of a logger's "
            f"class, such as pytorch_lightning.loggers.CSVLogger"
        ) from error
    return kind


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
    logger: Logger = part(f"logger.{name}", settings, **{key: offered[key] for key in offered.keys() - settings.keys()})
    return logger
