"""Scoring a split image by image, how sure the figures are, and comparing two of them."""

from hypercolumns.evaluation.bootstrap import LEVEL, intervals
from hypercolumns.evaluation.comparison import compare
from hypercolumns.evaluation.evaluation import WIDTH, Counts, Evaluation, count

__all__ = ["LEVEL", "WIDTH", "Counts", "Evaluation", "compare", "count", "intervals"]
