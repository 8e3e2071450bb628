"""From a config to the machine that a stage runs on."""

import torch
from omegaconf import DictConfig, OmegaConf

from hypercolumns.runs.environment import RunOrigin
from hypercolumns.runtime.distributed import Machine
from hypercolumns.settings.compose import command_line, overrides, plain


def machine(cfg: DictConfig) -> Machine:
    """Where the stage runs: the settings `trainer` that choose a machine; the CPU for a stage without them."""
    settings = plain(cfg.get("trainer")) or {"accelerator": "cpu"}
    return Machine(**{name: settings[name] for name in Machine.__dataclass_fields__ if name in settings})


def origin(cfg: DictConfig) -> RunOrigin:
    """What is written beside a result of what it was made with."""
    device = machine(cfg).device() if "trainer" in cfg else torch.device("cpu")
    return RunOrigin(OmegaConf.to_yaml(cfg, resolve=True), command_line(overrides()), device)
