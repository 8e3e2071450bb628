"""Prediction of many images: what is read, what is written, and what is done already."""

from hypercolumns.prediction.batches import PredictOptions, predict_batches
from hypercolumns.prediction.inputs import find_sources, prefetch_map, read_frames
from hypercolumns.prediction.manifest import PredictionManifest
from hypercolumns.prediction.outputs import (
    OUTPUTS,
    ImagePrediction,
    OutputSpec,
    PredictionKind,
    RenderStyle,
    check_package,
)
from hypercolumns.prediction.sources import Frame, Origin, Source

__all__ = [
    "OUTPUTS",
    "Frame",
    "ImagePrediction",
    "Origin",
    "OutputSpec",
    "PredictOptions",
    "PredictionKind",
    "PredictionManifest",
    "RenderStyle",
    "Source",
    "check_package",
    "find_sources",
    "predict_batches",
    "prefetch_map",
    "read_frames",
]
