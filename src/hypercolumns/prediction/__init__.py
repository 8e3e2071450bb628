"""Predict many images, and write the outputs to a folder. Images that an earlier run predicted are skipped."""

from hypercolumns.prediction.annotations.files import TOOLS, AnnotationFiles
from hypercolumns.prediction.annotations.label_studio import LabelStudioTags
from hypercolumns.prediction.batches import batch_frames, predict_batch
from hypercolumns.prediction.class_fractions import CLASS_FRACTIONS
from hypercolumns.prediction.ground_truth import GroundTruth
from hypercolumns.prediction.inputs import find_sources, read_frames
from hypercolumns.prediction.manifest import PredictionManifest
from hypercolumns.prediction.options import PredictOptions
from hypercolumns.prediction.outputs import (
    OUTPUTS,
    ImagePrediction,
    OutputSpec,
    RenderStyle,
    check_package,
)
from hypercolumns.prediction.prediction_run import PredictionRun, RunSummary
from hypercolumns.prediction.sources import Frame, Origin, Source

__all__ = [
    "CLASS_FRACTIONS",
    "OUTPUTS",
    "TOOLS",
    "AnnotationFiles",
    "Frame",
    "GroundTruth",
    "ImagePrediction",
    "LabelStudioTags",
    "Origin",
    "OutputSpec",
    "PredictOptions",
    "PredictionManifest",
    "PredictionRun",
    "RenderStyle",
    "RunSummary",
    "Source",
    "batch_frames",
    "check_package",
    "find_sources",
    "predict_batch",
    "read_frames",
]
