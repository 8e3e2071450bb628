"""Semantic segmentation with hypercolumns.

The public names are imported when they are first asked for: `import hypercolumns` loads nothing else, and none of them
loads what only training needs.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hypercolumns.errors import HypercolumnsError
    from hypercolumns.models.backbones import Backbone
    from hypercolumns.models.classifiers import GridClassifier, MLPClassifier
    from hypercolumns.models.engine import AdaptiveSettings
    from hypercolumns.models.extractor import HypercolumnExtractor
    from hypercolumns.models.predictor import Prediction, SegmentationPredictor
    from hypercolumns.models.segmenter import Segmenter
    from hypercolumns.models.tta import TestTimeAugmentation

    __version__: str

MODULES = {  # of the public names
    "AdaptiveSettings": "hypercolumns.models.engine",
    "Backbone": "hypercolumns.models.backbones",
    "GridClassifier": "hypercolumns.models.classifiers",
    "HypercolumnExtractor": "hypercolumns.models.extractor",
    "HypercolumnsError": "hypercolumns.errors",
    "MLPClassifier": "hypercolumns.models.classifiers",
    "Prediction": "hypercolumns.models.predictor",
    "SegmentationPredictor": "hypercolumns.models.predictor",
    "Segmenter": "hypercolumns.models.segmenter",
    "TestTimeAugmentation": "hypercolumns.models.tta",
}
__all__ = [
    "AdaptiveSettings",
    "Backbone",
    "GridClassifier",
    "HypercolumnExtractor",
    "HypercolumnsError",
    "MLPClassifier",
    "Prediction",
    "SegmentationPredictor",
    "Segmenter",
    "TestTimeAugmentation",
    "__version__",
]


def __getattr__(name: str) -> Any:
    """Import a public name."""
    if name in MODULES:
        value = getattr(importlib.import_module(MODULES[name]), name)
    elif name == "__version__":
        value = importlib.import_module("importlib.metadata").version("hypercolumns")
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """The public names too, imported or not."""
    return sorted({*globals(), *__all__})
