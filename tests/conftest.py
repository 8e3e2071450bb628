"""Small things that many tests need; everything is made here, nothing is read from outside."""

import copy
import functools
import logging
import os
import runpy
import sys
from pathlib import Path
from typing import NamedTuple

import hypothesis
import pytest
import torch
import torchvision

from hypercolumns.models.backbones import Backbone
from hypercolumns.models.classifiers import GridClassifier, MLPClassifier
from hypercolumns.models.extractor import HypercolumnExtractor
from hypercolumns.models.segmenter import Segmenter

FIRES = [[f"features.{i}.expand1x1", f"features.{i}.expand3x3"] for i in (3, 4, 7, 9, 12)]
SQN = {"network": "squeezenet1_0", "taps": ["features.0", *FIRES]}
VGG = {"network": "vgg11", "taps": [f"features.{i}" for i in (0, 3, 8, 13, 18)]}
hypothesis.settings.register_profile("patient", deadline=None)  # a busy machine is no failure
hypothesis.settings.load_profile("patient")

if "PYTEST_XDIST_WORKER" in os.environ:  # one of several beside each other: a thread is what each has of the machine
    torch.set_num_threads(1)
    os.environ["OMP_NUM_THREADS"] = "1"  # of the processes that tests start

ROOT = Path(__file__).parents[1]


@pytest.hookimpl(trylast=True)  # when those that are left out are gone
def pytest_collection_modifyitems(items):
    """Begin either half with its longest, by their own `slow(seconds=75)`: what is left in the end is then short.

    Each of two workers starts with a half.
    """

    def seconds(item):
        mark = item.get_closest_marker("slow")
        return mark.kwargs.get("seconds", 0) if mark else 0

    long = sorted(filter(seconds, items), key=seconds, reverse=True)
    short = [item for item in items if not seconds(item)]
    half = len(short) // 2
    items[:] = [*long[::2], *short[:half], *long[1::2], *short[half:]]


@pytest.fixture(scope="session")
def sqn() -> Backbone:
    """SqueezeNet with random weights; not to be changed."""
    return Backbone(**SQN)


@functools.cache
def vgg_weights() -> dict[str, torch.Tensor]:
    """Random ones of VGG-11's convolutions: those of the layers after them, 120 million, take seconds to draw."""
    with torch.random.fork_rng():  # so that the first call leaves no other state than the later ones
        torch.manual_seed(3)
        layers = torchvision.models.vgg.make_layers(torchvision.models.vgg.cfgs["A"])
        for layer in layers:
            if isinstance(layer, torch.nn.Conv2d):
                torch.nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")  # as torchvision does
    return layers.state_dict()


@pytest.fixture(scope="session")
def vgg() -> Backbone:
    """VGG-11 with random weights; not to be changed."""
    return Backbone(**VGG, weights=vgg_weights())


KINDS = {
    "plain": ([], MLPClassifier, {"hidden": 8}),
    "placed": (["pyramid:2", "pyramid:6", "local_mean:3", "coordinates"], GridClassifier, {"size": 3, "hidden": 8}),
}


@functools.cache
def make_segmenter(kind: str) -> Segmenter:
    """A small one of two taps and perhaps context taps, its classifier's numbers all random; not to be changed."""
    torch.manual_seed(3)
    contexts, head, settings = KINDS[kind]
    backbone = Backbone("squeezenet1_0", ["features.0", FIRES[0], *contexts], seed=3)
    classifier = head(backbone.channels, 3, **settings)
    classifier.set_statistics(torch.randn(backbone.channels), torch.rand(backbone.channels) + 0.5)
    return Segmenter(HypercolumnExtractor(backbone), classifier, ["ground", "cat", "dog"]).eval()


@pytest.fixture
def segmenter() -> Segmenter:
    """Whose labels depend on what a pixel's surroundings look like."""
    torch.manual_seed(3)  # of what a test draws besides
    return copy.deepcopy(make_segmenter("plain"))


@pytest.fixture(params=KINDS)
def any_segmenter(request) -> Segmenter:
    """Also one whose labels depend on where a pixel is, and on the image as a whole."""
    torch.manual_seed(3)
    return copy.deepcopy(make_segmenter(request.param))


class Result(NamedTuple):
    returncode: int
    stdout: str
    stderr: str


@pytest.fixture
def run_script(monkeypatch, capsys):
    """Starts a script as from the command line, in this process, where torch is imported already."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level

    def start(script, *arguments, cwd):
        monkeypatch.chdir(cwd)
        monkeypatch.setattr(sys, "argv", [str(ROOT / script), *arguments])
        code = 0
        try:
            runpy.run_path(str(ROOT / script), run_name="__main__")
        except SystemExit as end:
            code = end.code or 0
        return Result(code, *capsys.readouterr())

    with monkeypatch.context() as patch:
        for name in ("HYDRA_FULL_ERROR", "LRU_CACHE_CAPACITY", "ONEDNN_PRIMITIVE_CACHE_CAPACITY"):
            patch.setenv(name, os.environ.get(name, "1024"))  # so that it is as before, afterwards
        yield start
    root.handlers, root.level = handlers, level
