"""Read from a config which devices and processes a stage uses, and what a run records about its origin."""

import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from omegaconf import DictConfig, OmegaConf

from hypercolumns.overrides import config_places
from hypercolumns.runs.environment import RunOrigin
from hypercolumns.runtime.distributed import Machine
from hypercolumns.settings.compose import command_line, overrides, plain
from hypercolumns.settings.invocation import current, shell_program


def machine(cfg: DictConfig) -> Machine:
    """Return the devices and processes that `trainer` chooses; one CPU process if the stage does not use `trainer`."""
    settings = plain(cfg.get("trainer")) or {"accelerator": "cpu"}
    return Machine(**{name: settings[name] for name in Machine.__dataclass_fields__ if name in settings})


def origin(cfg: DictConfig) -> RunOrigin:
    """Return what a run records about its origin: the config as YAML, the command line and the device."""
    device = machine(cfg).device() if "trainer" in cfg else torch.device("cpu")
    invocation = current()
    if invocation is None or tuple(invocation.program) == tuple(shell_program()):
        command = command_with_places(overrides())["command"]
    else:  # called from Python, whose own arguments say nothing about the training
        command = command_line([*invocation.search_path, *overrides()])
    return RunOrigin(OmegaConf.to_yaml(cfg, resolve=True), command, device)


def command_with_places(settings: Sequence[str]) -> dict[str, str]:
    """Return a command with these overrides, and the folder to run it in, as `environment.json` names them.

    The command has those arguments of this process that say where the configs are, such as `--config-dir`.
    """
    return {"command": command_line([*config_places(sys.argv[1:]), *settings]), "directory": str(Path.cwd())}
