"""Skip slow work that other tests check, such as drawing plots."""

import functools
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module

import numpy as np
import pytest

from hypercolumns.callbacks import MetricsCSV
from hypercolumns.runs.results import Results
from hypercolumns.settings import training
from hypercolumns.visualization.panels import panels

shapes = import_module("hypercolumns.data.datasets.shapes")
draw = functools.cache(lambda *seed, real=shapes.draw: real(np.random.default_rng(seed)))


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
