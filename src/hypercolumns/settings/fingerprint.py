"""Fingerprints of runs and stores: all that decides the contents of a run or a store, and nothing else.

A fingerprint names a part of the config, such as the sampler, by the part's `kind` and not by an import path. The code
of the part can therefore move to another module.
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
from hypercolumns.runs.run import Fingerprint
from hypercolumns.samplers import Sampler
from hypercolumns.settings import model
from hypercolumns.settings.compose import local_path, plain
from hypercolumns.settings.data import extract_augmentation, resize
from hypercolumns.settings.machine import machine
from hypercolumns.settings.schema import MISSING, SETTINGS


def shared_settings(cfg: DictConfig, images: DatasetIndex, backbone: Backbone) -> Fingerprint:
    """Return the part of a fingerprint that a store, a pretrained model and a final model must have in common.

    Args:
        cfg: the config of a stage.
        images: the data set.
        backbone: the backbone that the config describes.

    Returns:
        The fingerprints of the data and of the backbone, and the settings of the extractor.
    """
    extraction = model.extractor(cfg, backbone, resize(cfg)).settings()
    if "max_window_pixels" not in cfg:
        extraction.pop("max_window_pixels", None)  # a stage that reads no images takes any store
    return {"data": images.fingerprint(), "cnn": backbone.fingerprint(), **extraction}


def sample_settings(cfg: DictConfig) -> Fingerprint:
    """Return the settings that, together with the result of `shared_settings`, decide the samples of a store."""
    sampler: type[Sampler] = get_class(cfg.sampler._target_)
    guide = {"model": _hash(cfg.model)} if sampler.needs_logits else {}
    augmentation = {"augmentation": settings} if (settings := extract_augmentation(cfg)) else {}
    return {"sampler": identified(plain(cfg.sampler)), "seed": cfg.seed, **guide, **augmentation}


def store_fingerprint(cfg: DictConfig, shared: Fingerprint) -> Fingerprint:
    """Return the fingerprint of the store that stage extract writes: all that decides the contents of the store.

    Args:
        cfg: the config of stage extract.
        shared: the result of `shared_settings`.
    """
    # The device and the number of threads change how sums of floats are rounded.
    rounding = {"device": machine(cfg).device().type, "threads": torch.get_num_threads()}
    return shared | sample_settings(cfg) | rounding


def result_settings(cfg: DictConfig, stage: str) -> Fingerprint:
    """Return the values of the settings that decide the result of a stage, by the name of the setting.

    `settings.schema` declares which settings these are. Settings that have no effect in this config are left out.
    """
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
    """Remove Hydra's entries, such as `_target_`, from a part of a config, at any depth; `kind` remains."""
    if isinstance(settings, dict):
        return {name: identified(value) for name, value in settings.items() if not name.startswith("_")}
    return [identified(value) for value in settings] if isinstance(settings, list) else settings


def classifier_shape(classifier: dict[str, Any]) -> Fingerprint:
    """Return the settings that decide the names and shapes of a classifier's weights: all settings but `dropout`."""
    return {name: value for name, value in identified(classifier).items() if name != "dropout"}


def stage_dir(cfg: DictConfig, images: DatasetIndex, what: str) -> Path:
    """Return the folder that holds all runs of a stage, or all stores, of a data set and a CNN.

    Args:
        cfg: the config.
        images: the data set.
        what: the name of the stage, or "samples".

    Returns:
        The path <runs>/<data>/<cnn>/<what>, which need not exist.
    """
    return local_path(cfg, "runs") / images.name / str(cfg.cnn.name) / what


def _hash(model: str | None) -> str | None:
    """Hash the model file at the path `model`; return None if `model` is None or the path does not exist.

    A missing file is no error here, because only stage extract reads the file, and raises an error itself.
    """
    path = expand_path("model", model) if model else None
    if path is None or not path.exists():
        return None
    with setting_prefix("model="):
        return file_hash(model_file.find_model(path))[:16]
