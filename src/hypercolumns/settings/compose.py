"""Composing configs, and making objects of their parts."""

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
from hypercolumns.settings.schema import stages_named, taken

PARTS = ("data", "sampler", "classifier", "loss", "optimizer", "scheduler")  # groups whose options are parts of ours
INPUTS = ("samples", "init_from")  # settings that name what an earlier stage made


def plain(cfg: Any) -> Any:
    """A part of a config as plain dicts, lists and values."""
    return OmegaConf.to_container(cfg, resolve=True) if OmegaConf.is_config(cfg) else cfg


def part(group: str, settings: Any, **more: Any) -> Any:
    """Make the object that the settings of a group describe.

    Args:
        group: the group's name, which errors name.
        settings: its entries, `_target_` among them.
        more: further arguments.

    Raises:
        HypercolumnsError: for a wrong argument, by the name of its setting.
    """
    own = _without_kinds(plain(settings))
    with setting_prefix(f"{group}."):
        try:
            return instantiate(OmegaConf.create({group: own})[group], _convert_="all", **more)
        except InstantiationException as error:
            if isinstance(error.__cause__, HypercolumnsError):
                raise error.__cause__ from error
            raise


def _without_kinds(settings: Any) -> Any:
    """Settings as arguments: a part's `kind` names it in identities alone."""
    if not isinstance(settings, dict):
        return settings
    is_part = "_target_" in settings
    return {name: _without_kinds(value) for name, value in settings.items() if not (is_part and name == "kind")}


def overrides() -> list[str]:
    """The settings on the command line; none where there is no command line."""
    return list(HydraConfig.get().overrides.task) if HydraConfig.initialized() else []


def commanded_stage() -> str:
    """The stage that the command line names; in the job of a sweep, its own."""
    return stages_named(overrides())[0]


def is_sweep_job() -> bool:
    """Whether this is one of the jobs that a command with -m runs."""
    return HydraConfig.initialized() and HydraConfig.get().mode == RunMode.MULTIRUN


def compose_stage(stage: str, **inputs: str) -> DictConfig:
    """Compose the config of a stage from those settings of this command that it takes.

    Args:
        stage: the stage's name.
        inputs: settings that name what it starts from, with their values.
    """
    own = [override for override in overrides() if not override.startswith("stage=")]
    config = compose(HydraConfig.get().job.config_name, overrides=[*taken(stage, own), f"stage={stage}"])
    config.update(inputs)
    return config


def command_line(settings: list[str]) -> str:
    """The command that starts train.py with these settings, as it can be pasted into a shell."""
    return shlex.join(["python", "train.py", *settings])


def command(stage: str, *changed: str) -> str:
    """The command that runs another stage with those settings of this command that it takes.

    Args:
        stage: the other stage.
        changed: settings that it gets in place of this command's.
    """
    left_out = ("stage=", *(f"{name}=" for name in INPUTS), *(f"{one.partition('=')[0]}=" for one in changed))
    others = [override for override in overrides() if not override.startswith(left_out)]
    return command_line([f"stage={stage}", *taken(stage, others), *changed])


def local_path(cfg: DictConfig, setting: str) -> Path:
    """The folder that a setting names.

    Raises:
        HypercolumnsError: for a URL.
    """
    if "://" in str(cfg[setting]):
        raise HypercolumnsError(
            f"{setting}={cfg[setting]} is a URL; files are read in place, samples through memory maps, which need a "
            f"file system: copy the folder to a disk of this machine, or mount it, and give {setting}=<that folder>"
        )
    return expand_path(setting, cfg[setting])


def write_config(cfg: DictConfig, path: Path) -> None:
    """Write every setting, as YAML."""
    with atomic_write(path) as temporary:
        OmegaConf.save(cfg, temporary, resolve=True)
