"""Score predictions image by image, estimate confidence intervals of metrics, and compare two evaluations."""

from hypercolumns.evaluation.bootstrap import BOOTSTRAP_SAMPLES, LEVEL, intervals, resampling_groups
from hypercolumns.evaluation.comparison import compare
from hypercolumns.evaluation.evaluation import BOUNDARY_WIDTH, Evaluation, ImageConfusion, count_image

__all__ = [
    "BOOTSTRAP_SAMPLES",
    "BOUNDARY_WIDTH",
    "LEVEL",
    "Evaluation",
    "ImageConfusion",
    "compare",
    "count_image",
    "intervals",
    "resampling_groups",
]
