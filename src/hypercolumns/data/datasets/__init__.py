"""Functions that index data sets, one module for each layout."""

from hypercolumns.data.datasets.folder import folder
from hypercolumns.data.datasets.shapes import shapes
from hypercolumns.data.datasets.voc import voc

__all__ = ["folder", "shapes", "voc"]
