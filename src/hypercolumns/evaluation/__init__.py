"""Scoring a split image by image, how sure the figures are, and comparing two of them."""

from hypercolumns.evaluation.bootstrap import DRAWS, LEVEL, groups_of, intervals
from hypercolumns.evaluation.comparison import compare
from hypercolumns.evaluation.evaluation import WIDTH, Counts, Evaluation, count

__all__ = ["DRAWS", "LEVEL", "WIDTH", "Counts", "Evaluation", "compare", "count", "groups_of", "intervals"]
