"""Prediction of many images: what is read, what is written, and what is done already."""

from hypercolumns.prediction.batches import How, predicted
from hypercolumns.prediction.inputs import ahead, find_sources, read_frames
from hypercolumns.prediction.manifest import Record
from hypercolumns.prediction.outputs import OUTPUTS, Look, Needs, Output, Predicted, check_package
from hypercolumns.prediction.sources import Frame, Origin, Source

__all__ = [
    "OUTPUTS",
    "Frame",
    "How",
    "Look",
    "Needs",
    "Origin",
    "Output",
    "Predicted",
    "Record",
    "Source",
    "ahead",
    "check_package",
    "find_sources",
    "predicted",
    "read_frames",
]
