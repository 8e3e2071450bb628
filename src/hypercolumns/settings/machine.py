"""Read the machine that a stage runs on from a config."""

import torch
from omegaconf import DictConfig, OmegaConf

from hypercolumns.runs.environment import RunOrigin
from hypercolumns.runtime.distributed import Machine
from hypercolumns.settings.compose import command_line, overrides, plain


def machine(cfg: DictConfig) -> Machine:
    """Return the devices and processes that the settings `trainer` choose; the CPU if the stage takes no `trainer`."""
    settings = plain(cfg.get("trainer")) or {"accelerator": "cpu"}
    return Machine(**{name: settings[name] for name in Machine.__dataclass_fields__ if name in settings})


def origin(cfg: DictConfig) -> RunOrigin:
    """Return the config, the command line and the device, which a run records with its results."""
    device = machine(cfg).device() if "trainer" in cfg else torch.device("cpu")
    return RunOrigin(OmegaConf.to_yaml(cfg, resolve=True), command_line(overrides()), device)
