"""Compose configs, and build objects from their parts."""

import re
import shlex
from pathlib import Path
from typing import Any

from hydra import compose
from hydra.core.hydra_config import HydraConfig
from hydra.errors import InstantiationException
from hydra.types import RunMode
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from hypercolumns.errors import HypercolumnsError, setting_prefix
from hypercolumns.io.files import atomic_write, expand_path
from hypercolumns.settings.schema import SETTINGS, stages_named, taken

# Groups of settings whose `_target_` names the class or function to call with them.
PARTS = ("data", "sampler", "classifier", "loss", "optimizer", "scheduler")
PATHS = {setting.name for setting in SETTINGS if setting.path}  # quotes protect their values from Hydra's parser
INPUTS = ("samples", "init_from")  # settings that name the result of an earlier stage


def plain(cfg: Any) -> Any:
    """Convert a config to plain dicts, lists and values; return anything else unchanged."""
    return OmegaConf.to_container(cfg, resolve=True) if OmegaConf.is_config(cfg) else cfg


def part(group: str, settings: Any, **more: Any) -> Any:
    """Build the object that the settings of a group describe.

    Args:
        group: the name of the group, used in error messages.
        settings: the entries of the group, including `_target_`.
        more: further arguments of the target.

    Returns:
        The object that `_target_` returns.

    Raises:
        HypercolumnsError: for an invalid argument; the message begins with the name of the setting.
    """
    arguments = _without_kinds(plain(settings))
    with setting_prefix(f"{group}."):
        try:
            return instantiate(OmegaConf.create({group: arguments})[group], _convert_="all", **more)
        except InstantiationException as error:
            if isinstance(error.__cause__, HypercolumnsError):
                raise error.__cause__ from error
            raise


def _without_kinds(settings: Any) -> Any:
    """Return the settings without the `kind` of each part, which is no argument of the `_target_`."""
    if not isinstance(settings, dict):
        return settings
    is_part = "_target_" in settings
    return {name: _without_kinds(value) for name, value in settings.items() if not (is_part and name == "kind")}


def overrides() -> list[str]:
    """Return the overrides on the command line; [] without a command line."""
    return list(HydraConfig.get().overrides.task) if HydraConfig.initialized() else []


def commanded_stage() -> str:
    """Return the stage that this command, or this job of a sweep, names; all by default."""
    return stages_named(overrides())[0]


def is_sweep_job() -> bool:
    """Return whether this is a job of a sweep, that is, of a command with -m."""
    return HydraConfig.initialized() and HydraConfig.get().mode == RunMode.MULTIRUN


def compose_stage(stage: str, **inputs: str) -> DictConfig:
    """Compose the config of a stage, with those overrides of the command line that the stage takes.

    Args:
        stage: the name of the stage.
        inputs: the values of settings that name the stage's input, such as `samples`; they replace values of the
            command line.
    """
    others = [override for override in overrides() if not override.startswith("stage=")]
    config = compose(HydraConfig.get().job.config_name, overrides=[*taken(stage, others), f"stage={stage}"])
    config.update(inputs)
    return config


def command_line(settings: list[str]) -> str:
    """Return the shell command that starts train.py with these settings."""
    return shlex.join(["python", "train.py", *map(_without_quotes, settings)])


def _without_quotes(setting: str) -> str:
    """Drop the quotes around a path in an override. `cli.paths` added them, and adds them again to a pasted command."""
    name, _, value = setting.partition("=")
    quoted = re.fullmatch(r"'([^'\\$,\[\]]+)'", value)
    return f"{name}={quoted[1]}" if quoted and name in PATHS and quoted[1] not in ("null", "???") else setting


def command(stage: str, *changed: str) -> str:
    """Return the shell command that runs another stage with the settings of this command.

    Settings that the other stage does not take, and settings that name an input of this command, are left out.

    Args:
        stage: the other stage.
        changed: overrides to add; they replace overrides of the same settings.
    """
    left_out = ("stage=", *(f"{name}=" for name in INPUTS), *(f"{change.partition('=')[0]}=" for change in changed))
    others = [override for override in overrides() if not override.startswith(left_out)]
    return command_line([f"stage={stage}", *taken(stage, others), *changed])


def local_path(cfg: DictConfig, setting: str) -> Path:
    """Return the folder that a setting names, with `~` expanded.

    Raises:
        HypercolumnsError: if the value is a URL.
    """
    if "://" in str(cfg[setting]):
        raise HypercolumnsError(
            f"{setting}={cfg[setting]} is a URL, but must be a folder of a file system, where files are read in place "
            f"(samples through memory maps); copy the folder to a disk of this machine, or mount it, and give "
            f"{setting}=<that folder>"
        )
    return expand_path(setting, cfg[setting])


def write_config(cfg: DictConfig, path: Path) -> None:
    """Write the config as YAML, with all interpolations resolved."""
    with atomic_write(path) as temporary:
        OmegaConf.save(cfg, temporary, resolve=True)
