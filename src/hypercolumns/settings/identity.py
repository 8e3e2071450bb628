"""What identifies a run or a store: all that decides what is in it, and nothing else.

A part is said by its `kind`, never by an import path, so that code may move.
"""

from pathlib import Path
from typing import Any

import torch
from hydra.utils import get_class
from omegaconf import DictConfig

from hypercolumns.data import DatasetIndex
from hypercolumns.errors import setting_prefix
from hypercolumns.io.files import expand_path, file_hash
from hypercolumns.models import model_file
from hypercolumns.models.backbones import Backbone
from hypercolumns.runs.run import Identity
from hypercolumns.samplers import Sampler
from hypercolumns.settings import model
from hypercolumns.settings.compose import local_path, plain
from hypercolumns.settings.data import extract_augmentation, resize
from hypercolumns.settings.machine import machine
from hypercolumns.settings.schema import MISSING, SETTINGS


def shared_settings(cfg: DictConfig, images: DatasetIndex, backbone: Backbone) -> Identity:
    """What the stages must agree on, from a store to the model trained last."""
    extraction = model.extractor(cfg, backbone, resize(cfg)).settings()
    return {"data": images.fingerprint(), "cnn": backbone.fingerprint(), **extraction}


def sample_settings(cfg: DictConfig) -> Identity:
    """What decides the samples of a store, besides the shared settings."""
    sampler: type[Sampler] = get_class(cfg.sampler._target_)
    guide = {"model": _hash(cfg.model)} if sampler.needs_logits else {}
    augmentation = {"augmentation": settings} if (settings := extract_augmentation(cfg)) else {}
    return {"sampler": identified(plain(cfg.sampler)), "seed": cfg.seed, **guide, **augmentation}


def store_identity(cfg: DictConfig, shared: Identity) -> Identity:
    """All that decides the contents of the store that stage extract makes with these settings."""
    # The device and the number of threads decide how sums of floats are rounded.
    rounding = {"device": machine(cfg).device().type, "threads": torch.get_num_threads()}
    return shared | sample_settings(cfg) | rounding


def result_settings(cfg: DictConfig, stage: str) -> Identity:
    """The settings whose values decide the result of a stage, without those that change nothing here."""
    settings = {
        setting.name: identified(plain(cfg[setting.name]))
        for setting in SETTINGS
        if stage in setting.decides and "." not in setting.name
    }
    for setting in SETTINGS:
        group, _, entry = setting.name.rpartition(".")
        part = settings if not group else settings.get(group)
        if isinstance(part, dict) and entry in part:
            ineffective = setting.when is not None and not setting.when(cfg)
            neutral = setting.neutral is not MISSING and part[entry] == setting.neutral
            if stage not in setting.decides or ineffective or neutral:
                part.pop(entry)
    return settings


def identified(settings: Any) -> Any:
    """A part of a config as what identifies a result: its `kind` and its settings, but no import path (`_target_`)."""
    if isinstance(settings, dict):
        return {name: identified(value) for name, value in settings.items() if not name.startswith("_")}
    return [identified(value) for value in settings] if isinstance(settings, list) else settings


def classifier_shape(classifier: dict[str, Any]) -> Identity:
    """Of a classifier's settings, those that decide which weights it has."""
    return {name: value for name, value in identified(classifier).items() if name != "dropout"}


def stage_dir(cfg: DictConfig, images: DatasetIndex, what: str) -> Path:
    """The folder of all stores (`what` is samples) or of all runs of a stage."""
    return local_path(cfg, "runs") / images.name / str(cfg.cnn.name) / what


def _hash(model: str | None) -> str | None:
    """Of the file that the setting `model` names; None if there is none, with which only stage extract is at fault."""
    path = expand_path("model", model) if model else None
    if path is None or not path.exists():
        return None
    with setting_prefix("model="):
        return file_hash(model_file.find_model(path))[:16]
