"""Running predict.py's stage in this process, and reading the files that it writes."""

import numpy as np
from PIL import Image

from helpers.small_runs import config
from hypercolumns import SegmentationPredictor
from hypercolumns.stages.predict import predict as predict_stage

MODEL = "model=model.safetensors"
SIZES = {"a.jpg": (30, 44), "deep/b c.png": (25, 33), "x.jpg": (9, 9), "x.png": (8, 8), "one.png": (1, 1)}


def predict(*overrides):
    """Return the number of images that failed."""
    return predict_stage(config("predict", MODEL, *overrides))


def predicted(segmenter, image, *settings, **more):
    """Return what the public API predicts of an image: a path, or pixels."""
    return SegmentationPredictor(segmenter).predict(image, *settings, **more)


def read(path):
    with Image.open(path) as image:
        return np.array(image)


def files(folder):
    """Return the paths of all files in a folder, relative to the folder, sorted."""
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
