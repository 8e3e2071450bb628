"""Prediction of many images: what is read, what is written, and what is done already."""

from hypercolumns.prediction.batches import How, predicted
from hypercolumns.prediction.frames import Frame, Origin, Source
from hypercolumns.prediction.inputs import ahead, find_sources, read_frames
from hypercolumns.prediction.outputs import OUTPUTS, Look, Needs, Output, Predicted, check_package
from hypercolumns.prediction.record import Record

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
