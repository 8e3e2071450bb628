"""What dozens of tiny runs would do again and again, and other tests look at, is done once or not at all."""

import functools
from importlib import import_module

import numpy as np
import pytest

from hypercolumns.callbacks import MetricsCSV
from hypercolumns.runs.results import Results
from hypercolumns.settings import training
from hypercolumns.visualization.panels import panels

shapes = import_module("hypercolumns.data.datasets.shapes")
draw = functools.cache(lambda *seed, real=shapes.draw: real(np.random.default_rng(seed)))


@pytest.fixture(scope="module", autouse=True)  # no longer: the worker may go on with tests of these very things
def quick():
    """Pictures are drawn once and written anew to each folder; plots are not drawn, panels are small."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shapes, "draw", lambda generator: draw(*generator.bit_generator.seed_seq.entropy))
        patch.setattr(training, "MetricsCSV", functools.partial(MetricsCSV, plot=lambda *_: None))
        pictures = {
            "confusion_picture": lambda *_: np.zeros((2, 2, 3), np.uint8),
            "panels": functools.partial(panels, side=40),
        }
        patch.setattr(training, "Results", functools.partial(Results, **pictures))
        yield
