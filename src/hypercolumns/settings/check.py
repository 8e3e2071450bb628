"""Check a config before any work starts."""

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
# In stage train, these settings only select the pretrained model of a job of a sweep, unless pixels=sampler.
SAMPLES_GROUPS = ("extract", "model", "sampler")


def check_settings(cfg: DictConfig) -> None:
    """Check the settings of a stage.

    Settings for which the schema has no check are checked later, by the classes that take them as arguments.

    Raises:
        HypercolumnsError: for the first invalid setting.
    """
    _check_options()
    _check_taken(cfg)
    if "cnn" in cfg:
        plain(cfg.cnn)  # raises an error if cnn.model is missing; later, images would be read or drawn first
    for setting in SETTINGS:
        group, _, entry = setting.name.rpartition(".")
        parent = OmegaConf.select(cfg, group) if group else cfg
        if setting.check is not None and isinstance(parent, DictConfig) and entry in parent:
            setting.check(setting.name, plain(parent[entry]))
    _check_kinds(cfg)
    if cfg.stage in FITTING:
        _check_epochs(cfg)


def _check_options() -> None:
    """Raise HypercolumnsError if a chosen file (`_name.yaml`) only holds settings that other files share."""
    for group, option in HydraConfig.get().runtime.choices.items() if HydraConfig.initialized() else ():
        if str(option).rpartition("/")[2].startswith("_"):
            raise HypercolumnsError(
                f"{group}={option} only holds settings that other options share; choose one of the other options"
            )


def _check_taken(cfg: DictConfig) -> None:
    """Raise HypercolumnsError if the command line sets something that the command's stage does not use."""
    # The stage of the command may differ from cfg.stage, as the command may run other stages before its own.
    stage = compose.commanded_stage()
    for override in compose.overrides():
        name = setting_of(override)
        if stage not in stages_of(name):
            raise HypercolumnsError(not_taken(name, stage))
        group = name.partition(".")[0]
        used = compose.is_sweep_job() or (group == "sampler" and cfg.get("pixels") == "sampler")
        if stage == "train" and group in SAMPLES_GROUPS and not used:
            also = ", or set pixels=sampler" if group == "sampler" else ""
            raise HypercolumnsError(
                f"{name} has no effect in stage=train, except in a sweep (-m), where it selects the pretrained model; "
                f"leave it out{also}"
            )


def _check_epochs(cfg: DictConfig) -> None:
    if cfg.trainer.max_epochs % cfg.trainer.check_val_every_n_epoch:
        raise HypercolumnsError(
            f"trainer.max_epochs={cfg.trainer.max_epochs} must be a multiple of "
            f"trainer.check_val_every_n_epoch={cfg.trainer.check_val_every_n_epoch}, otherwise the last epochs are not "
            f"validated and can't be chosen as the best; change one of the two"
        )


def _check_kinds(cfg: DictConfig) -> None:
    """Raise HypercolumnsError if a part has another `_target_` than the file that its `kind` names.

    Results are identified by the kind of a part, so the kind must determine the `_target_`. Kind `uniform` of the group
    sampler names conf/sampler/uniform.yaml.
    """
    for group, target in OWN_TARGETS.items():
        if group in cfg and cfg[group]._target_ != target:
            raise HypercolumnsError(f"{group}._target_={cfg[group]._target_} can't be changed; leave it at {target}")
    for group in PARTS:
        for name, part in _parts(group, plain(cfg.get(group))):
            kind, target = part.get("kind"), part["_target_"]
            declared = _target_of(group, str(kind))
            if declared is None or declared == target:
                continue
            if kind is None:
                wrong = f"{target} has no kind; add kind: <the name of the file in conf/{group} that has this _target_>"
            elif not declared:
                wrong = f"kind={kind} needs a file conf/{group}/{kind}.yaml with a _target_; write it, or restore kind"
            else:
                wrong = (
                    f"kind={kind} is {declared}, not {target}; write a file for the latter, such as "
                    f"conf/{group}/mine.yaml with kind: mine, and choose it, {group}=mine"
                )
            raise HypercolumnsError(f"{name}: {wrong} (results are identified by the kind)")


def _parts(name: str, settings: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the name and the entries of each part, that is, of each dict with a `_target_`, in `settings`."""
    if isinstance(settings, dict):
        if "_target_" in settings:
            yield name, settings
        for entry, value in settings.items():
            yield from _parts(f"{name}.{entry}", value)


def _target_of(group: str, kind: str) -> str | None:
    """Return the `_target_` in conf/<group>/<kind>.yaml.

    Return "" if the file does not exist or has no `_target_`, and None without Hydra, which knows the folders.
    """
    if not HydraConfig.initialized():
        return None
    for source in HydraConfig.get().runtime.config_sources:
        file = Path(source.path) / group / f"{kind}.yaml"
        if source.schema == "file" and file.is_file():
            content = OmegaConf.to_container(OmegaConf.load(file), resolve=False)
            return str(content.get("_target_", "")) if isinstance(content, dict) else ""
    return ""
