"""Check the config of a stage before the stage does any work."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from hypercolumns.errors import HypercolumnsError
from hypercolumns.settings import compose, invocation
from hypercolumns.settings.compose import PARTS, plain
from hypercolumns.settings.schema import FITTING, SETTINGS, not_taken, setting_of, stages_of

OWN_TARGETS = {"cnn": "hypercolumns.models.backbones.Backbone", "trainer": "pytorch_lightning.Trainer"}
# In stage train, these groups have an effect in two cases only: in a job of a sweep, where they select the pretrained
# model, and with pixels=sampler, where `sampler` chooses the pixels.
SAMPLES_GROUPS = ("extract", "model", "sampler")


def check_settings(cfg: DictConfig) -> None:
    """Check the settings of a stage.

    If the schema declares no check for a setting, the class that takes the setting as an argument checks it later.

    Raises:
        HypercolumnsError: for the first setting that is invalid, or that the stage does not use.
    """
    _check_options()
    _check_taken(cfg)
    if "cnn" in cfg:
        plain(cfg.cnn)  # raises an error now if cnn.model is missing, and not after images have been read or drawn
    for setting in SETTINGS:
        group, _, entry = setting.name.rpartition(".")
        parent = OmegaConf.select(cfg, group) if group else cfg
        if setting.check is not None and isinstance(parent, DictConfig) and entry in parent:
            setting.check(setting.name, plain(parent[entry]))
    _check_kinds(cfg)
    if cfg.stage in FITTING:
        _check_epochs(cfg)


def _check_options() -> None:
    """Raise HypercolumnsError if the command chooses a file that other files include, such as cnn=_backbone."""
    command = invocation.current()
    for group, option in command.hydra.runtime.choices.items() if command is not None else ():
        if str(option).rpartition("/")[2].startswith("_"):
            raise HypercolumnsError(
                f"{group}={option} only holds settings that other files in conf/{group} include; choose another file"
            )


def _check_taken(cfg: DictConfig) -> None:
    """Raise HypercolumnsError if the command line gives a setting that the stage of the command does not use."""
    # The stage on the command line may differ from cfg.stage: stage=all, or a job of a sweep, also runs other stages.
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
                f"leave out {name}{also}"
            )


def _check_epochs(cfg: DictConfig) -> None:
    """Raise HypercolumnsError unless the last epoch of the training is validated."""
    if cfg.trainer.max_epochs % cfg.trainer.check_val_every_n_epoch:
        raise HypercolumnsError(
            f"trainer.max_epochs={cfg.trainer.max_epochs} must be a multiple of "
            f"trainer.check_val_every_n_epoch={cfg.trainer.check_val_every_n_epoch}, because only a validated epoch "
            f"can be chosen as the best; change one of the two settings"
        )


def _check_kinds(cfg: DictConfig) -> None:
    """Raise HypercolumnsError if the `_target_` of a part is not the one that belongs to its `kind`.

    A part is a group of settings with a `_target_`, such as `sampler`. The kind of a part is the name of a file: kind
    `uniform` of `sampler` stands for the `_target_` in conf/sampler/uniform.yaml. Fingerprints contain the kind and not
    the `_target_`, so the kind must determine the `_target_`.
    """
    for group, target in OWN_TARGETS.items():
        if group in cfg and cfg[group]._target_ != target:
            raise HypercolumnsError(f"{group}._target_={cfg[group]._target_} must be {target}; leave this setting out")
    for group in PARTS:
        for name, part in _parts(group, plain(cfg.get(group))):
            kind, target = part.get("kind"), part["_target_"]
            declared = _target_of(group, str(kind))
            if declared is None or declared == target:
                continue
            if kind is None:
                wrong = f"_target_={target} needs a kind; add kind: <name of the file in conf/{group} that has it>"
            elif not declared:
                wrong = f"kind={kind} needs a file conf/{group}/{kind}.yaml with a _target_; write it, or change kind"
            else:
                wrong = (
                    f"kind={kind} belongs to _target_={declared}, not to _target_={target}; write a file with the "
                    f"second _target_, such as conf/{group}/mine.yaml with kind: mine, and choose it by {group}=mine"
                )
            raise HypercolumnsError(f"{name}: {wrong} (fingerprints of results contain only the kind)")


def _parts(name: str, settings: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the dotted name and the entries of each part, that is, of each dict with a `_target_`, in `settings`.

    `name` is the dotted name of `settings`.
    """
    if isinstance(settings, dict):
        if "_target_" in settings:
            yield name, settings
        for entry, value in settings.items():
            yield from _parts(f"{name}.{entry}", value)


def _target_of(group: str, kind: str) -> str | None:
    """Read the `_target_` in conf/<group>/<kind>.yaml, or in another config folder of Hydra.

    Return "" if the file does not exist or has no `_target_`. Return None if the stage was called with a config alone,
    because only Hydra knows the config folders.
    """
    command = invocation.current()
    if command is None:
        return None
    for source in command.hydra.runtime.config_sources:
        file = Path(source.path) / group / f"{kind}.yaml"
        if source.schema == "file" and file.is_file():
            content = OmegaConf.to_container(OmegaConf.load(file), resolve=False)
            return str(content.get("_target_", "")) if isinstance(content, dict) else ""
    return ""
