"""Small things that many tests need; everything is made here, nothing is read from outside."""

from pathlib import Path

import hypothesis
import pytest
import torch

from hypercolumns.backbones import Backbone
from hypercolumns.classifiers import MLP
from hypercolumns.segmenter import Segmenter

FIRES = [[f"features.{i}.expand1x1", f"features.{i}.expand3x3"] for i in (3, 4, 7, 9, 12)]
SQN = {"network": "squeezenet1_0", "taps": ["features.0", *FIRES]}
VGG = {"network": "vgg11", "taps": [f"features.{i}" for i in (0, 3, 8, 13, 18)]}
hypothesis.settings.register_profile("patient", deadline=None)  # a busy machine is no failure
hypothesis.settings.load_profile("patient")

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="session")
def sqn() -> Backbone:
    """SqueezeNet with random weights; not to be changed."""
    return Backbone(**SQN)


@pytest.fixture(scope="session")
def vgg() -> Backbone:
    """VGG-11 with random weights; not to be changed."""
    return Backbone(**VGG)


@pytest.fixture
def segmenter() -> Segmenter:
    """A small one of two taps, its classifier's numbers all random."""
    torch.manual_seed(3)
    backbone = Backbone("squeezenet1_0", ["features.0", FIRES[0]], seed=3)
    classifier = MLP(96 + 128, 3, hidden=8)
    classifier.standardise(torch.randn(224), torch.rand(224) + 0.5)
    return Segmenter(backbone, classifier, ["ground", "cat", "dog"]).eval()
