"""The kinds of output files. Each kind has a suffix and a function that writes the file of one image."""

import importlib.util
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from hypercolumns.errors import HypercolumnsError
from hypercolumns.io.images import write_image
from hypercolumns.io.masks import write_mask
from hypercolumns.labels import Palette, colourise
from hypercolumns.models.pixel_prediction import Detail
from hypercolumns.prediction.annotations import cvat, labelme
from hypercolumns.prediction.geotiff import write_geotiff
from hypercolumns.prediction.probabilities import ProbabilityMap, write_probabilities
from hypercolumns.prediction.sources import Frame
from hypercolumns.visualization.overlays import overlay_with_legend, shown_channels

MAX_JPEG_SIDE = 65_500  # pixels; libjpeg can't write a picture with a longer side
JPEG_QUALITY = 90


class ImagePrediction(NamedTuple):
    """The prediction for one image, as arrays.

    Attributes:
        frame: the input image, with its name and origin.
        labels: (H, W) uint8, class indices.
        confidence: (H, W) float16, the probability of the predicted class, in [0, 1]. None if only labels were
            predicted.
        entropy: (H, W) float16, the entropy of the class probabilities divided by its maximum, in [0, 1]. None if only
            labels were predicted.
        probabilities: the probabilities of all classes. None unless an output needs them.
    """

    frame: Frame
    labels: NDArray[np.uint8]
    confidence: NDArray[np.float16] | None = None
    entropy: NDArray[np.float16] | None = None
    probabilities: ProbabilityMap | None = None


class RenderStyle(NamedTuple):
    """The names and colours of the classes in outputs, and the options of overlays.

    Attributes:
        classes: the names of the classes.
        palette: the colour of each class.
        opacity: the opacity of the class colours in overlays, from 0 (only the image is visible) to 1.
        legend: whether overlays have a legend with the class names.
    """

    classes: Sequence[str]
    palette: Palette
    opacity: float = 0.5
    legend: bool = True


class OutputSpec(NamedTuple):
    """A kind of output file.

    Attributes:
        suffix: the text that is added to `Frame.name` to make the name of the file, such as `.overlay.jpg`.
        write: writes the file. Its arguments are the path of the file, the prediction for one image, and the style.
        detail: the least detailed kind of prediction from which the file can be made, see
            `pixel_prediction.Detail`.
        folder: the folder of the files, relative to the output folder. Empty: the output folder itself.
        setting: the name in the settings `outputs` that selects the kind. None: its name in `OUTPUTS`.
        package: the optional package that `write` imports. None: `write` needs no optional package.
        extra: the extra of this project that installs the package; "" if it has the name of the output.
    """

    suffix: str
    write: Callable[[Path, ImagePrediction, RenderStyle], None]
    detail: Detail = "labels"
    folder: str = ""
    setting: str | None = None
    package: str | None = None
    extra: str = ""

    def file(self, name: str) -> str:
        """Return the path of an image's file, relative to the output folder. `name` is `Frame.name`."""
        return f"{self.folder}{'/' if self.folder else ''}{name}{self.suffix}"


def _mask(path: Path, prediction: ImagePrediction, style: RenderStyle) -> None:
    """Write the predicted class indices as a PNG whose palette holds the class colours."""
    write_mask(path, prediction.labels, style.palette)


def _overlay(path: Path, prediction: ImagePrediction, style: RenderStyle) -> None:
    """Write a JPEG of the image with the colours of the predicted classes blended over it.

    The picture is shrunk if its width or height exceeds `MAX_JPEG_SIDE`.
    """
    classes = style.classes if style.legend else None
    pixels = shown_channels(prediction.frame.pixels).permute(1, 2, 0).numpy()
    picture = overlay_with_legend(pixels, prediction.labels, classes, style.palette, style.opacity, MAX_JPEG_SIDE)
    write_image(path, picture, JPEG_QUALITY)


def _color_mask(path: Path, prediction: ImagePrediction, style: RenderStyle) -> None:
    """Write the colours of the predicted classes as an RGB PNG."""
    write_image(path, Image.fromarray(colourise(prediction.labels, style.palette)))


def _confidence(path: Path, prediction: ImagePrediction, style: RenderStyle) -> None:
    """Write the probability of each pixel's predicted class as a grey PNG. Grey values 0 to 255 stand for 0 to 1."""
    _write_grey(path, prediction.confidence)


def _entropy(path: Path, prediction: ImagePrediction, style: RenderStyle) -> None:
    """Write the entropy of each pixel's class probabilities as a grey PNG.

    Grey values 0 to 255 stand for 0 to the maximal entropy, at which all classes are equally probable.
    """
    _write_grey(path, prediction.entropy)


def _probabilities(path: Path, prediction: ImagePrediction, style: RenderStyle) -> None:
    """Write an `.npz` file: `probabilities`, (classes, H, W) float16, and `classes`, the names of the classes."""
    assert prediction.probabilities is not None, "PredictOptions.detail covers all outputs"
    write_probabilities(path, prediction.probabilities, style.classes)


def _cvat_objects(path: Path, prediction: ImagePrediction, style: RenderStyle) -> None:
    """Write an RGB PNG with a colour for each object, as CVAT reads it, see `annotations.cvat`."""
    write_image(path, Image.fromarray(colourise(prediction.labels, cvat.object_palette(style.classes))))


def _labelme(path: Path, prediction: ImagePrediction, style: RenderStyle) -> None:
    """Write labelme's JSON file, with a mask for each predicted class, see `annotations.labelme`."""
    labelme.write_labelme(path, prediction.labels, style.classes, prediction.frame.source.path)


def _geotiff(path: Path, prediction: ImagePrediction, style: RenderStyle) -> None:
    """Write the predicted class indices as a TIFF with the georeference of the image, see `write_geotiff`."""
    source = prediction.frame.source
    file = None if source.video else Path(source.path)
    write_geotiff(path, prediction.labels, file, style.classes, style.palette)


OUTPUTS = {
    "mask": OutputSpec(".png", _mask),
    "overlay": OutputSpec(".overlay.jpg", _overlay),
    "color_mask": OutputSpec(".color_mask.png", _color_mask),
    "confidence": OutputSpec(".confidence.png", _confidence, "certainty"),
    "entropy": OutputSpec(".entropy.png", _entropy, "certainty"),
    "probabilities": OutputSpec(".probabilities.npz", _probabilities, "probabilities"),
    "geotiff": OutputSpec(".tif", _geotiff, package="rasterio", extra="geo"),
    "cvat": OutputSpec(".png", _color_mask, folder=cvat.CLASS_FOLDER),
    "cvat_objects": OutputSpec(".png", _cvat_objects, folder=cvat.OBJECT_FOLDER, setting="cvat"),
    "labelme": OutputSpec(".json", _labelme, folder=labelme.FOLDER),
}


def check_package(package: str, extra: str, what: str) -> None:
    """Check that an optional package is installed.

    Args:
        package: the name of the package in an `import` statement.
        extra: the extra of this project that installs the package.
        what: the setting that needs the package, with its value, for the beginning of the error message.

    Raises:
        HypercolumnsError: if the package is not installed; the message says how to install it.
    """
    if importlib.util.find_spec(package) is None:
        raise HypercolumnsError(
            f"{what} needs {package}; install it with: uv sync --extra {extra}, or pip install '.[{extra}]'"
        )


def _write_grey(path: Path, values: NDArray[np.float16] | None) -> None:
    assert values is not None, "PredictOptions.detail covers all outputs"
    grey = np.empty(values.shape, np.uint8)
    for row, line in zip(grey, values, strict=True):  # float32 copies of all pixels would be large
        row[:] = np.rint(line.astype(np.float32) * 255)
    write_image(path, Image.fromarray(grey))
