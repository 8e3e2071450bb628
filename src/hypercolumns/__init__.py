"""Semantic segmentation with hypercolumns.

Each public name is imported on first use, so `import hypercolumns` is fast. Only `train` and `TrainedRun` load the
libraries that training needs.
"""

import importlib
from typing import TYPE_CHECKING, Any

from hypercolumns.runtime import imports

if TYPE_CHECKING:
    from hypercolumns.annotation.learning.pixel_trainer import PixelTrainer as PixelTrainer
    from hypercolumns.commands.from_python import train as train
    from hypercolumns.errors import HypercolumnsError as HypercolumnsError
    from hypercolumns.io.decoding import ImageDecoding as ImageDecoding
    from hypercolumns.models.backbones import Backbone as Backbone
    from hypercolumns.models.classifiers import GridClassifier as GridClassifier
    from hypercolumns.models.classifiers import MLPClassifier as MLPClassifier
    from hypercolumns.models.engine import AdaptiveSettings as AdaptiveSettings
    from hypercolumns.models.extractor import HypercolumnExtractor as HypercolumnExtractor
    from hypercolumns.models.predictor import Prediction as Prediction
    from hypercolumns.models.predictor import SegmentationPredictor as SegmentationPredictor
    from hypercolumns.models.segmenter import Segmenter as Segmenter
    from hypercolumns.models.tta import TestTimeAugmentation as TestTimeAugmentation
    from hypercolumns.runs.trained_run import TrainedRun as TrainedRun

    __version__: str

MODULES = {  # the module that defines each public name
    "AdaptiveSettings": "hypercolumns.models.engine",
    "Backbone": "hypercolumns.models.backbones",
    "GridClassifier": "hypercolumns.models.classifiers",
    "HypercolumnExtractor": "hypercolumns.models.extractor",
    "HypercolumnsError": "hypercolumns.errors",
    "ImageDecoding": "hypercolumns.io.decoding",
    "MLPClassifier": "hypercolumns.models.classifiers",
    "PixelTrainer": "hypercolumns.annotation.learning.pixel_trainer",
    "Prediction": "hypercolumns.models.predictor",
    "SegmentationPredictor": "hypercolumns.models.predictor",
    "Segmenter": "hypercolumns.models.segmenter",
    "TestTimeAugmentation": "hypercolumns.models.tta",
    "TrainedRun": "hypercolumns.runs.trained_run",
    "train": "hypercolumns.commands.from_python",
}
__all__ = [*MODULES, "__version__"]

imports.defer_imports()  # here, because any module of the package may be the first to import torchvision


def __getattr__(name: str) -> Any:
    """Import a public name of this package when it is used for the first time."""
    if name in MODULES:
        value = getattr(importlib.import_module(MODULES[name]), name)
    elif name == "__version__":
        value = importlib.import_module("importlib.metadata").version("hypercolumns")
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """List the names of this package, including the public names that are not imported yet."""
    return sorted({*globals(), *__all__})
