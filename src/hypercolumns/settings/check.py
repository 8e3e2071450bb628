"""Checks of a config, before any work."""

import re

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from hypercolumns.errors import HypercolumnsError
from hypercolumns.io.images import set_max_pixels
from hypercolumns.settings import compose
from hypercolumns.settings.compose import PARTS, plain
from hypercolumns.settings.schema import SETTINGS, not_taken, setting_of, stages_of


def check_settings(cfg: DictConfig) -> None:
    """Check the settings of a stage that no class checks, and limit the size of images.

    Raises:
        HypercolumnsError: for the first setting that can't be.
    """
    _check_taken()
    if "cnn" in cfg:
        plain(cfg.cnn)  # raises where cnn.model is missing, before any image is read or drawn
    for setting in SETTINGS:
        group, _, entry = setting.name.rpartition(".")
        parent = OmegaConf.select(cfg, group) if group else cfg
        if setting.check is not None and isinstance(parent, DictConfig) and entry in parent:
            setting.check(setting.name, plain(parent[entry]))
    _check_kinds(cfg)
    if "check_val_every_n_epoch" in cfg.get("trainer", ()) and cfg.get("monitor") is not None:
        _check_epochs(cfg)
    if "max_pixels" in cfg:
        set_max_pixels(cfg.max_pixels)


def _check_taken() -> None:
    """Raise HypercolumnsError for a setting of the command line that the command's stage does not take."""
    stage = compose.commanded_stage()  # which may run others first, with those of the settings that they take
    for override in compose.overrides():
        name = setting_of(override)
        if stage not in stages_of(name):
            raise HypercolumnsError(not_taken(name, stage))


def _check_epochs(cfg: DictConfig) -> None:
    if cfg.trainer.max_epochs % cfg.trainer.check_val_every_n_epoch:
        raise HypercolumnsError(
            f"trainer.max_epochs={cfg.trainer.max_epochs} must be a multiple of "
            f"trainer.check_val_every_n_epoch={cfg.trainer.check_val_every_n_epoch}: the last epochs would not be "
            f"scored, and could not be the best"
        )


def _check_kinds(cfg: DictConfig) -> None:
    """Raise HypercolumnsError unless each part's `kind`, which results are identified by, is its group's option."""
    typed = next((one for one in compose.overrides() if re.match(rf"\+*({'|'.join(PARTS)})\..*_target_=", one)), None)
    if typed is not None:
        raise HypercolumnsError(
            f"{typed}: results are identified by the option of a group, not by an import path; write a file for it, "
            f"such as conf/sampler/mine.yaml, and choose that: sampler=mine"
        )
    choices = HydraConfig.get().runtime.choices if HydraConfig.initialized() else {}
    for group in PARTS:
        option = choices.get(group)
        if option is not None and group in cfg and (kind := cfg[group].get("kind")) != option:
            raise HypercolumnsError(
                f"{group}.kind={kind} must be {option}, the name of its file, by which results are identified; correct "
                f"it in conf/{group}/{option}.yaml"
            )
