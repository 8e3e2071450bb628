"""Functions that make the index of a data set, one for each layout of its files."""

from hypercolumns.data.datasets.folder import folder
from hypercolumns.data.datasets.shapes import shapes
from hypercolumns.data.datasets.voc import voc

__all__ = ["folder", "shapes", "voc"]
