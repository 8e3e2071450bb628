"""Compose the config of a stage, build objects from parts of a config, and format commands."""

import re
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra import compose
from hydra.errors import InstantiationException
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from hypercolumns.errors import HypercolumnsError, setting_prefix
from hypercolumns.io.files import atomic_write, expand_path
from hypercolumns.overrides import config_flags
from hypercolumns.settings import invocation
from hypercolumns.settings.schema import PATHS, stages_named, taken

# Groups of settings with a `_target_`: the class or function that takes the other settings of the group as arguments.
PARTS = ("data", "sampler", "classifier", "loss", "optimizer", "scheduler")
INPUTS = ("samples", "init_from", "resume_from")  # settings that name the result of an earlier stage


def plain(cfg: Any) -> Any:
    """Convert a config to plain dicts, lists and values; return anything else unchanged."""
    return OmegaConf.to_container(cfg, resolve=True) if OmegaConf.is_config(cfg) else cfg


def part(group: str, settings: Any, **more: Any) -> Any:
    """Build the object that the settings of a group describe.

    Args:
        group: the name of the group, for error messages.
        settings: the entries of the group: the `_target_`, and the arguments that the target takes.
        more: further arguments of the target.

    Returns:
        The object that the target returns.

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
    """Remove `kind` from all settings that have a `_target_`, at any depth: the target does not take `kind`."""
    if not isinstance(settings, dict):
        return settings
    is_part = "_target_" in settings
    return {name: _without_kinds(value) for name, value in settings.items() if not (is_part and name == "kind")}


def overrides() -> list[str]:
    """Return the overrides of the command, such as `cnn=sqn`; [] if the stage was called with a config alone."""
    command = invocation.current()
    return [] if command is None else command.overrides


def commanded_stage() -> str:
    """Return the stage that the command line, or this job of a sweep, names; "all" if it names none."""
    return stages_named(overrides())[0]


def is_sweep_job() -> bool:
    """Return whether this is a job of a sweep, that is, of a command with -m."""
    command = invocation.current()
    return command is not None and command.is_sweep_job


def sweep_folder() -> Path | None:
    """Return the folder of the sweep that this job belongs to; None if this is no job of a sweep."""
    command = invocation.current()
    return Path(command.hydra.sweep.dir).absolute() if command is not None and command.is_sweep_job else None


def compose_stage(stage: str, **inputs: str) -> DictConfig:
    """Compose the config of a stage, with the overrides on the command line whose settings the stage uses.

    Args:
        stage: the name of the stage.
        inputs: the values of settings that name the input of the stage, such as `samples`. They replace values on the
            command line.

    """
    others = [override for override in overrides() if not override.startswith("stage=")]
    command = invocation.current()
    assert command is not None  # only a command has overrides
    config = compose_as(command, [*taken(stage, others), f"stage={stage}"])
    config.update(inputs)
    return config


def compose_part(cfg: DictConfig, stage: str, **inputs: Any) -> DictConfig:
    """Compose the config of a stage that takes no experiment, with the values that stage all has for its settings.

    Args:
        cfg: the config of stage all, which contains the choices of its experiment.
        stage: the name of the stage.
        inputs: the values of settings that name the input of the stage, such as `model`.

    Returns:
        The config. Settings that `cfg` lacks have the defaults of the stage.
    """
    command = invocation.current()
    assert command is not None  # only a command has stage all
    config = compose_as(command, [f"stage={stage}"])
    common = {name: cfg[name] for name in config if name in cfg and name != "stage"}
    config.update(common | inputs)
    return config


def compose_as(command: invocation.Invocation, overrides: Sequence[str]) -> DictConfig:
    """Compose a config from other overrides, with the primary config and the folders of configs of a command."""
    return compose(command.hydra.job.config_name, overrides=[*command.search_path, *overrides])


def command_line(settings: Sequence[str]) -> str:
    """Return the shell command that starts a training with these overrides, by the program that is running.

    The command also says where the configs of this command are, such as by `--config-dir`.
    """
    command = invocation.current()
    program = invocation.shell_program() if command is None else command.program
    if command is None or tuple(program) == tuple(invocation.shell_program()):
        flags = config_flags(sys.argv[1:])
    else:  # called from Python, whose own arguments say nothing about the training
        flags = command.search_path
    return shlex.join([*program, *flags, *map(without_quotes, settings)])


def without_quotes(setting: str) -> str:
    """Remove the quotes around the path in an override such as `samples='a b'`; return other overrides unchanged.

    `cli.paths` has added the quotes. It adds them again when a user pastes the command.
    """
    name, _, value = setting.partition("=")
    quoted = re.fullmatch(r"'([^'\\$,\[\]]+)'", value)
    is_path = quoted and name.lstrip("+") in PATHS and quoted[1] not in ("null", "???")
    return f"{name}={quoted[1]}" if quoted and is_path else setting


def command(stage: str, *changed: str, without: Sequence[str] = ()) -> str:
    """Return the shell command that runs another stage with the overrides of this command.

    The command leaves out settings that the other stage does not take. It also leaves out `samples`, `init_from` and
    `resume_from`, because they name the input of this command, and `monitor`, because the other stage has other
    metrics.

    Args:
        stage: the other stage.
        changed: overrides to add; they replace overrides of the same settings on this command line.
        without: further settings to leave out.

    Returns:
        The command.
    """
    left_out = (
        "stage=",
        "monitor=",
        *(f"{name}=" for name in INPUTS),
        *(f"{name}=" for name in without),
        *(f"{change.partition('=')[0]}=" for change in changed),
    )
    others = [override for override in overrides() if not override.startswith(left_out)]
    return command_line([f"stage={stage}", *taken(stage, others), *changed])


def local_path(cfg: DictConfig, setting: str) -> Path:
    """Return the path of the folder that a setting names, with `~` expanded. The folder need not exist.

    Raises:
        HypercolumnsError: if the value is a URL.
    """
    if "://" in str(cfg[setting]):
        raise HypercolumnsError(
            f"{setting}={cfg[setting]} is a URL, but must be a folder of a file system, because files are read in "
            f"place (samples through memory maps); copy or mount the folder on this machine, and give "
            f"{setting}=<path of the folder>"
        )
    return expand_path(setting, cfg[setting])


def write_config(cfg: DictConfig, path: Path) -> None:
    """Write a config to a YAML file, with all interpolations (`${seed}`) resolved."""
    with atomic_write(path) as temporary:
        OmegaConf.save(cfg, temporary, resolve=True)
