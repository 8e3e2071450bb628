"""Skip slow work that other tests check, such as drawing plots."""

import functools
import os
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module

import numpy as np
import omegaconf._utils
import pytest
import yaml
from lightning_fabric.utilities import registry

from hypercolumns.callbacks import MetricsCSV
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


@contextmanager
def quick_configs() -> Iterator[None]:
    """Let OmegaConf read YAML by `RememberingLoader`."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(omegaconf._utils, "get_yaml_loader", lambda: RememberingLoader)
        yield


@contextmanager
def quick_trainers() -> Iterator[None]:
    """Search the installed packages for callbacks of Lightning once, and not for each of some thousand trainers."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(registry, "entry_points", functools.cache(registry.entry_points))
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
