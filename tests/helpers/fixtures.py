"""Fixtures that many tests share. They read no data and use no network."""

import copy
import logging
import os
import runpy
import sys
from typing import NamedTuple

import pytest
import torch

from helpers.networks import KINDS, SQN, VGG, make_segmenter, vgg_weights
from helpers.paths import ROOT
from helpers.quick import quick_configs, quick_pictures, quick_trainers, quick_writes
from hypercolumns.commands import main as installed
from hypercolumns.models.backbones import Backbone
from hypercolumns.models.segmenter import Segmenter

if "PYTEST_XDIST_WORKER" in os.environ:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def sqn() -> Backbone:
    """SqueezeNet with random weights; tests must not change it."""
    return Backbone(**SQN)


@pytest.fixture(scope="session")
def vgg() -> Backbone:
    """VGG-11 with random weights; tests must not change it."""
    return Backbone(**VGG, weights=vgg_weights())


@pytest.fixture
def segmenter() -> Segmenter:
    """A small segmenter whose labels depend on the surroundings of a pixel."""
    torch.manual_seed(3)  # also seeds what the test itself draws
    return copy.deepcopy(make_segmenter("plain"))


@pytest.fixture(params=KINDS)
def any_segmenter(request) -> Segmenter:
    """The same, and a segmenter whose labels also depend on the position of a pixel and on the whole image."""
    torch.manual_seed(3)
    return copy.deepcopy(make_segmenter(request.param))


@pytest.fixture(scope="session", autouse=True)
def quick_files():
    """Parse each file of settings once, and the entry points of the installed packages; wait for no disk."""
    with quick_configs(), quick_trainers(), quick_writes():
        yield


@pytest.fixture(scope="module")  # a session scope would reach the tests of drawing itself
def without_pictures():
    """Draw each synthetic image once, and skip the plots, in all tests of a module."""
    with quick_pictures():
        yield


class Result(NamedTuple):
    """The exit code and the output of a script."""

    returncode: int
    stdout: str
    stderr: str


@pytest.fixture
def run_script(monkeypatch, capsys):
    """A function that runs a script or the command `hypercolumns`, in this process to save the import of torch."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level

    def start(script, *arguments, cwd):
        monkeypatch.chdir(cwd)
        monkeypatch.setattr(sys, "argv", [str(ROOT / script), *arguments])
        code = 0
        try:
            if script == "hypercolumns":  # the command that pip installs
                installed.main()
            else:
                runpy.run_path(str(ROOT / script), run_name="__main__")
        except SystemExit as end:
            code = end.code or 0
        return Result(code, *capsys.readouterr())

    with monkeypatch.context() as patch:
        for name in ("HYDRA_FULL_ERROR", "LRU_CACHE_CAPACITY", "ONEDNN_PRIMITIVE_CACHE_CAPACITY"):
            patch.setenv(name, os.environ.get(name, "1024"))  # the script sets these; the patch restores them
        yield start
    root.handlers, root.level = handlers, level
