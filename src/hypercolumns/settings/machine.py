"""Read from a config which devices and processes a stage uses, and what a run records about its origin."""

import torch
from omegaconf import DictConfig, OmegaConf

from hypercolumns.runs.environment import RunOrigin
from hypercolumns.runtime.distributed import Machine
from hypercolumns.settings.compose import command_line, overrides, plain, sweep_folder


def machine(cfg: DictConfig) -> Machine:
    """Return the devices and processes that `trainer` chooses; one CPU process if the stage does not use `trainer`."""
    settings = plain(cfg.get("trainer")) or {"accelerator": "cpu"}
    return Machine(**{name: settings[name] for name in Machine.__dataclass_fields__ if name in settings})


def origin(cfg: DictConfig) -> RunOrigin:
    """Return what a run records about its origin: the config as YAML, the command line, the device and the sweep."""
    device = machine(cfg).device() if "trainer" in cfg else torch.device("cpu")
    return RunOrigin(OmegaConf.to_yaml(cfg, resolve=True), command_line(overrides()), device, sweep_folder())
