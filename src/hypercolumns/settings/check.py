"""Checks of a config, before any work."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from hypercolumns.errors import HypercolumnsError
from hypercolumns.settings import compose
from hypercolumns.settings.compose import PARTS, plain
from hypercolumns.settings.schema import FITTING, SETTINGS, not_taken, setting_of, stages_of

OWN_TARGETS = {"cnn": "hypercolumns.models.backbones.Backbone", "trainer": "pytorch_lightning.Trainer"}
SAMPLES_GROUPS = ("extract", "model", "sampler")  # in stage train they only say which samples a sweep job's model is of


def check_settings(cfg: DictConfig) -> None:
    """Check the settings of a stage that no class checks.

    Raises:
        HypercolumnsError: for the first setting that can't be.
    """
    _check_options()
    _check_taken(cfg)
    if "cnn" in cfg:
        plain(cfg.cnn)  # raises where cnn.model is missing, before any image is read or drawn
    for setting in SETTINGS:
        group, _, entry = setting.name.rpartition(".")
        parent = OmegaConf.select(cfg, group) if group else cfg
        if setting.check is not None and isinstance(parent, DictConfig) and entry in parent:
            setting.check(setting.name, plain(parent[entry]))
    _check_kinds(cfg)
    if cfg.stage in FITTING:
        _check_epochs(cfg)


def _check_options() -> None:
    """Raise HypercolumnsError if a chosen option is what other options share, and no whole one."""
    for group, option in HydraConfig.get().runtime.choices.items() if HydraConfig.initialized() else ():
        if str(option).rpartition("/")[2].startswith("_"):
            raise HypercolumnsError(f"{group}={option} is a part that other options share; choose one of those")


def _check_taken(cfg: DictConfig) -> None:
    """Raise HypercolumnsError for a setting of the command line that the command's stage does not take."""
    stage = compose.commanded_stage()  # which may run others first, with those of the settings that they take
    for override in compose.overrides():
        name = setting_of(override)
        if stage not in stages_of(name):
            raise HypercolumnsError(not_taken(name, stage))
        group = name.partition(".")[0]
        used = compose.is_sweep_job() or (group == "sampler" and cfg.get("pixels") == "sampler")
        if stage == "train" and group in SAMPLES_GROUPS and not used:
            also = ", or pixels=sampler" if group == "sampler" else ""
            raise HypercolumnsError(
                f"{name} says in stage=train only which samples the model of a sweep's job (-m) is pretrained on; "
                f"leave it out{also}"
            )


def _check_epochs(cfg: DictConfig) -> None:
    if cfg.trainer.max_epochs % cfg.trainer.check_val_every_n_epoch:
        raise HypercolumnsError(
            f"trainer.max_epochs={cfg.trainer.max_epochs} must be a multiple of "
            f"trainer.check_val_every_n_epoch={cfg.trainer.check_val_every_n_epoch}: the last epochs would not be "
            f"scored, and could not be the best"
        )


def _check_kinds(cfg: DictConfig) -> None:
    """Raise HypercolumnsError unless each part is what its `kind` says, by which results are identified.

    A kind is the name of an option of the part's group, whose file says what is built.
    """
    for group, target in OWN_TARGETS.items():
        if group in cfg and cfg[group]._target_ != target:
            raise HypercolumnsError(f"{group}._target_={cfg[group]._target_} can't be set; it is {target}")
    for group in PARTS:
        for name, part in _parts(group, plain(cfg.get(group))):
            kind, target = part.get("kind"), part["_target_"]
            declared = _target_of(group, str(kind))
            if declared is None or declared == target:
                continue
            if kind is None:
                wrong = f"{target} has no kind; add one, the name of the file of conf/{group} that says this _target_"
            elif not declared:
                wrong = f"kind={kind} has no _target_ in a file conf/{group}/{kind}.yaml; leave the kind of another be"
            else:
                wrong = (
                    f"kind={kind} is {declared}, not {target}; write a file for it, such as conf/{group}/mine.yaml "
                    f"with kind: mine, and choose that, {group}=mine"
                )
            raise HypercolumnsError(f"{name}: {wrong}: results are identified by the kind")


def _parts(name: str, settings: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    """The part of that name, and those that it is made of."""
    if isinstance(settings, dict):
        if "_target_" in settings:
            yield name, settings
        for entry, value in settings.items():
            yield from _parts(f"{name}.{entry}", value)


def _target_of(group: str, kind: str) -> str | None:
    """What the file of a kind builds; empty if it does not say, or there is none; None where no files are known."""
    if not HydraConfig.initialized():
        return None
    for source in HydraConfig.get().runtime.config_sources:
        file = Path(source.path) / group / f"{kind}.yaml"
        if source.schema == "file" and file.is_file():
            content = OmegaConf.to_container(OmegaConf.load(file), resolve=False)
            return str(content.get("_target_", "")) if isinstance(content, dict) else ""
    return ""
