"""Skip slow work that other tests check, such as drawing plots."""

import copy
import functools
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import astuple, replace
from importlib import import_module
from pathlib import Path

import numpy as np
import omegaconf._utils
import pytest
import torch
import yaml
from hydra._internal import config_loader_impl, defaults_list
from lightning_fabric.utilities import registry
from pytorch_lightning.trainer.connectors.logger_connector.result import _ResultMetric

from helpers.paths import ROOT
from hypercolumns.callbacks import MetricsCSV
from hypercolumns.runs import environment
from hypercolumns.runs.results import Results
from hypercolumns.settings import training
from hypercolumns.visualization.panels import panels

shapes = import_module("hypercolumns.data.datasets.shapes")
draw = functools.cache(lambda *seed, real=shapes.draw: real(np.random.default_rng(seed)))


class RememberingLoader:
    """Parse each text of YAML once a session: Hydra reads some fifty files, twice each, to compose one config.

    OmegaConf copies what it gets. Only files of valid YAML are remembered, so errors name their file.
    """

    loader = omegaconf._utils.get_yaml_loader()

    def __init__(self, stream):
        self.stream = stream

    def get_single_data(self):
        if isinstance(self.stream, str):
            return yaml.load(self.stream, Loader=self.loader)
        start = self.stream.tell()
        try:
            return self.parse(self.stream.read())
        except yaml.YAMLError:
            self.stream.seek(start)
            return yaml.load(self.stream, Loader=self.loader)

    @classmethod
    @functools.cache
    def parse(cls, text):
        return yaml.load(text, Loader=cls.loader)

    def dispose(self):
        pass


def files_of_project(repo):
    """Return the sources of configs as a key, or None if they have folders of a test, whose files may change."""
    sources = [(source.scheme(), source.path) for source in repo.get_sources()]
    own = any(scheme == "file" and not Path(path).is_relative_to(ROOT / "conf") for scheme, path in sources)
    return None if own else tuple(sources)


class RememberedChoices:
    """Find the files of each combination of choices, such as `cnn=rgb`, and merge them, once a session.

    Hydra does so at least twice a command, and some more times for each job of a sweep. It then applies the other
    overrides, such as `seed=1`, which is left to it.
    """

    find = staticmethod(defaults_list.create_defaults_list)
    merge = staticmethod(config_loader_impl.ConfigLoaderImpl._compose_config_from_defaults_list)

    def __init__(self):
        self.found, self.merged = {}, {}

    def find_once(self, repo, config_name, overrides_list, prepend_hydra, skip_missing):
        arguments = {"config_name": config_name, "prepend_hydra": prepend_hydra, "skip_missing": skip_missing}
        files = files_of_project(repo)
        if files is None:
            return self.find(repo=repo, overrides_list=overrides_list, **arguments)
        values = defaults_list.Overrides(repo=repo, overrides_list=overrides_list).config_overrides
        of_values = {id(override) for override in values}
        chosen = tuple(override.input_line for override in overrides_list if id(override) not in of_values)
        key = (files, chosen, *arguments.values())
        if key not in self.found:
            self.found[key] = self.find(repo=repo, overrides_list=overrides_list, **arguments)
        return replace(self.found[key], config_overrides=values)  # Hydra reads the other parts, and changes none

    def merge_once(self, loader, defaults, repo):
        files = files_of_project(repo)
        if files is None:
            return self.merge(loader, defaults, repo)
        key = (files, *map(astuple, defaults))
        if key not in self.merged:
            self.merged[key] = self.merge(loader, defaults, repo)
        return copy.deepcopy(self.merged[key])


@contextmanager
def quick_configs() -> Iterator[None]:
    """Let OmegaConf read YAML by `RememberingLoader`, and Hydra compose configs by `RememberedChoices`."""
    choices, loader = RememberedChoices(), config_loader_impl.ConfigLoaderImpl
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(omegaconf._utils, "get_yaml_loader", lambda: RememberingLoader)
        patch.setattr(config_loader_impl, "create_defaults_list", choices.find_once)
        patch.setattr(
            loader, "_compose_config_from_defaults_list", lambda self, **given: choices.merge_once(self, **given)
        )
        yield


@contextmanager
def quick_trainers() -> Iterator[None]:
    """Spare some thousand trainers what is the same each time.

    Lightning searches the installed packages for callbacks, and looks through each logged number for what it must move
    to the device, also where there is only a CPU. A run records the state of the project's checkout.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(registry, "entry_points", functools.cache(registry.entry_points))
        for state in ("commit", "changes"):
            patch.setattr(environment, state, functools.cache(getattr(environment, state)))
        if not torch.accelerator.is_available():
            patch.setattr(_ResultMetric, "to", lambda metric, device: metric)
        yield


@contextmanager
def quick_writes() -> Iterator[None]:
    """Let no file wait for the disk: no test cuts the power. test_files checks that each file is flushed in time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda descriptor: None)
        yield


@contextmanager
def quick_pictures() -> Iterator[None]:
    """Draw each synthetic image once a session, skip the plots and shrink the panels."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shapes, "draw", lambda generator: draw(*generator.bit_generator.seed_seq.entropy))
        patch.setattr(training, "MetricsCSV", functools.partial(MetricsCSV, plot=lambda *_: None))
        pictures = {
            "confusion_picture": lambda *_: np.zeros((2, 2, 3), np.uint8),
            "panels": functools.partial(panels, side=40),
        }
        patch.setattr(training, "Results", functools.partial(Results, **pictures))
        yield
