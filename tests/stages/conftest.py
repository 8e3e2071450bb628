"""Fixtures for the stages on a tiny data set.

The tests run dozens of stages. Slow work that other tests check, such as drawing plots, is cached or skipped here.
"""

import functools
import shutil
from importlib import import_module

import numpy as np
import pytest
from helpers.small_runs import run

from hypercolumns.callbacks import MetricsCSV
from hypercolumns.runs.results import Results
from hypercolumns.settings import training
from hypercolumns.visualization.panels import panels

shapes = import_module("hypercolumns.data.datasets.shapes")
draw = functools.cache(lambda *seed, real=shapes.draw: real(np.random.default_rng(seed)))


@pytest.fixture(scope="module", autouse=True)  # a session scope would also patch the tests that a worker runs later
def quick():
    """Draw each image of the set once a session, skip the plots and shrink the panels."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shapes, "draw", lambda generator: draw(*generator.bit_generator.seed_seq.entropy))
        patch.setattr(training, "MetricsCSV", functools.partial(MetricsCSV, plot=lambda *_: None))
        pictures = {
            "confusion_picture": lambda *_: np.zeros((2, 2, 3), np.uint8),
            "panels": functools.partial(panels, side=40),
        }
        patch.setattr(training, "Results", functools.partial(Results, **pictures))
        yield


@pytest.fixture
def place(tmp_path, monkeypatch):
    """The temporary folder, as the working directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def extracted_once(tmp_path_factory):
    folder = tmp_path_factory.mktemp("extracted")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        run("extract")
    return folder


@pytest.fixture(scope="module")
def pretrained_once(extracted_once, tmp_path_factory):
    folder = copy_tree(extracted_once, tmp_path_factory.mktemp("pretrained"))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        return folder, run("pretrain")


@pytest.fixture
def extracted(extracted_once, place):
    """The working directory, after stage extract."""
    return copy_tree(extracted_once, place)


@pytest.fixture
def pretrained(pretrained_once, place):
    """The mIoU of stage pretrain, which ran in the working directory after stage extract."""
    folder, miou = pretrained_once
    copy_tree(folder, place)
    return miou


def copy_tree(source, target):
    return shutil.copytree(source, target, symlinks=True, dirs_exist_ok=True)
