"""What can be written of a prediction: each output is a suffix and a function that writes one image's file."""

import importlib.util
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from hypercolumns.errors import HypercolumnsError
from hypercolumns.io.files import atomic_write
from hypercolumns.io.images import write_image, write_mask
from hypercolumns.labels import Palette, colourise
from hypercolumns.models.pixel_prediction import Detail
from hypercolumns.prediction.sources import Frame
from hypercolumns.visualization.overlays import overlay_with_legend

MAX_JPEG_SIDE = 65_500  # pixels of a JPEG's side
JPEG_QUALITY = 90


class ImagePrediction(NamedTuple):
    """An image, and what was predicted of it.

    It has those parts of a `models.pixel_prediction.PixelPrediction` that were asked for.
    """

    frame: Frame
    labels: NDArray[np.uint8]  # (H, W)
    confidence: NDArray[np.float16] | None = None  # (H, W)
    entropy: NDArray[np.float16] | None = None  # (H, W)
    probabilities: NDArray[np.float16] | None = None  # (classes, H, W)


class RenderStyle(NamedTuple):
    """What classes are called, and how they look."""

    classes: Sequence[str]
    palette: Palette
    opacity: float = 0.5
    legend: bool = True


class OutputSpec(NamedTuple):
    """A file of each image: how it ends, how it is written, and what must be predicted and installed for it."""

    suffix: str
    write: Callable[[Path, ImagePrediction, RenderStyle], None]
    detail: Detail = "labels"
    package: str | None = None  # an optional extra


def _mask(path: Path, prediction: ImagePrediction, style: RenderStyle) -> None:
    """A palette PNG of class indices."""
    write_mask(path, prediction.labels, style.palette)


def _overlay(path: Path, prediction: ImagePrediction, style: RenderStyle) -> None:
    """The image under the classes' colours."""
    classes = style.classes if style.legend else None
    picture = overlay_with_legend(
        prediction.frame.pixels.permute(1, 2, 0).numpy(), prediction.labels, classes, style.palette, style.opacity
    )
    if max(picture.size) > MAX_JPEG_SIDE:
        picture.thumbnail((MAX_JPEG_SIDE, MAX_JPEG_SIDE))
    write_image(path, picture, JPEG_QUALITY)


def _color_mask(path: Path, prediction: ImagePrediction, style: RenderStyle) -> None:
    """The classes' colours, as an RGB PNG."""
    write_image(path, Image.fromarray(colourise(prediction.labels, style.palette)))


def _confidence(path: Path, prediction: ImagePrediction, style: RenderStyle) -> None:
    """The probability of the predicted class: a grey PNG, 255 where it is 1."""
    _write_grey(path, prediction.confidence)


def _entropy(path: Path, prediction: ImagePrediction, style: RenderStyle) -> None:
    """The entropy of the probabilities: a grey PNG, 255 where all classes are equally probable."""
    _write_grey(path, prediction.entropy)


def _probabilities(path: Path, prediction: ImagePrediction, style: RenderStyle) -> None:
    """The probabilities (classes, H, W) float16 and the names of the classes, for `numpy.load`."""
    with atomic_write(path) as temporary, temporary.open("wb") as file:
        arrays = {"probabilities": prediction.probabilities, "classes": np.array(style.classes)}
        np.savez_compressed(file, **arrays)  # type: ignore[arg-type]


def _coco(path: Path, prediction: ImagePrediction, style: RenderStyle) -> None:
    """The pixels of each class that occurs, run-length encoded as in COCO's results."""
    from pycocotools import mask as coco

    segments = []
    for index in np.flatnonzero(np.bincount(prediction.labels.ravel())).tolist():
        code = coco.encode(np.asfortranarray(prediction.labels == index).view(np.uint8))
        segments.append(
            {
                "image_id": prediction.frame.name,
                "category_id": index,
                "category": style.classes[index],
                "segmentation": {"size": code["size"], "counts": code["counts"].decode("ascii")},
                "area": int(coco.area(code)),
                "bbox": coco.toBbox(code).tolist(),
            }
        )
    with atomic_write(path) as temporary:
        temporary.write_text(json.dumps(segments), encoding="utf-8")


OUTPUTS = {
    "mask": OutputSpec(".png", _mask),
    "overlay": OutputSpec(".overlay.jpg", _overlay),
    "color_mask": OutputSpec(".color_mask.png", _color_mask),
    "confidence": OutputSpec(".confidence.png", _confidence, "certainty"),
    "entropy": OutputSpec(".entropy.png", _entropy, "certainty"),
    "probabilities": OutputSpec(".probabilities.npz", _probabilities, "probabilities"),
    "coco": OutputSpec(".coco.json", _coco, package="pycocotools"),
}


def check_package(package: str, extra: str, what: str) -> None:
    """Raise HypercolumnsError unless the package of an optional extra is installed, which `what` needs."""
    if importlib.util.find_spec(package) is None:
        raise HypercolumnsError(
            f"{what} needs {package}; install it with: uv sync --extra {extra}, or pip install '.[{extra}]'"
        )


def _write_grey(path: Path, values: NDArray[np.float16] | None) -> None:
    assert values is not None, "it was asked for"
    write_image(path, Image.fromarray(np.rint(values.astype(np.float32) * 255).astype(np.uint8)))
