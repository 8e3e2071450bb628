"""Prediction for single images, which are given as paths, PIL images, arrays or tensors."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from hypercolumns.errors import ArgumentError, HypercolumnsError, check_fraction
from hypercolumns.io.decoding import AS_STORED, RGB, WHITE, ImageDecoding, UnknownRangeError
from hypercolumns.io.images import decode_image, read_image
from hypercolumns.io.masks import write_mask
from hypercolumns.io.pixel_layout import array_layout
from hypercolumns.io.stored import name_values
from hypercolumns.labels import Palette
from hypercolumns.models.engine import AdaptiveSettings
from hypercolumns.models.pixel_prediction import Detail, certainty
from hypercolumns.models.segmenter import Segmenter
from hypercolumns.models.tta import NO_TTA, TestTimeAugmentation
from hypercolumns.visualization.overlays import overlay_with_legend, shown_channels

EXPECTED = (
    "an image must be a path, a PIL image, an array (H, W) or (H, W, C) of integers or floats, or a tensor "
    "({channels}, H, W), uint8 or float in [0, 1]"
)
ImageLike = str | Path | Image.Image | NDArray[Any] | Tensor


@dataclass(frozen=True, eq=False, repr=False)
class Prediction:
    """The prediction for one image, as `SegmentationPredictor.predict` returns it.

    >>> import tempfile
    >>> import numpy as np
    >>> from PIL import Image
    >>> from hypercolumns import Prediction
    >>> image = np.full((4, 6, 3), 90, np.uint8)
    >>> prediction = Prediction(np.zeros((4, 6), np.uint8), image, classes=("sky",), palette=((0, 0, 255),))
    >>> prediction.overlay(opacity=1.0, legend=False).getpixel((0, 0))
    (0, 0, 255)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     prediction.save(f"{folder}/sky.png")
    ...     with Image.open(f"{folder}/sky.png") as mask:
    ...         mask.mode
    'P'

    Attributes:
        labels: (H, W) uint8, the predicted class index of each pixel.
        image: (H, W, 3) uint8, the input image; if a model sees more than three channels, the first three of them.
        classes: the names of the classes, in the order of the class indices.
        palette: the colours of the classes, in the same order.
        confidence: (H, W) float32 in [0, 1], the probability of the predicted class; None with `detail="labels"`.
        entropy: (H, W) float32 in [0, 1], the entropy of the class probabilities divided by its maximum, log(classes);
            None with `detail="labels"`.
        probabilities: (classes, H, W) float32, the probabilities of all classes; None unless `detail="probabilities"`.
    """

    labels: NDArray[np.uint8]
    image: NDArray[np.uint8]
    classes: Sequence[str]
    palette: Palette
    confidence: NDArray[np.float32] | None = None
    entropy: NDArray[np.float32] | None = None
    probabilities: NDArray[np.float32] | None = None

    def __repr__(self) -> str:
        """Say the size and the classes that were predicted; the arrays would fill the screen."""
        height, width = self.labels.shape
        predicted = ", ".join(self.classes[index] for index in np.unique(self.labels))
        return f"Prediction({width}x{height} pixels of {predicted})"

    def overlay(self, opacity: float = 0.5, legend: bool = True) -> Image.Image:
        """Draw the colours of the predicted classes over the image.

        Args:
            opacity: the opacity of the colours, in [0, 1]; with 0, only the image is visible.
            legend: whether to add a legend below the image, with the colours and names of the predicted classes.

        Returns:
            An RGB picture. Without the legend, the picture has the size of the image.
        """
        check_fraction("opacity", opacity)
        return overlay_with_legend(self.image, self.labels, self.classes if legend else None, self.palette, opacity)

    def save(self, path: str | Path) -> None:
        """Write the class indices as a PNG with the palette. The file appears at `path` only when it is complete."""
        write_mask(Path(path), self.labels, self.palette)


class SegmentationPredictor:
    """Predict single images with a segmenter, on the segmenter's device.

    >>> import numpy as np
    >>> from hypercolumns import Backbone, HypercolumnExtractor, MLPClassifier, SegmentationPredictor, Segmenter
    >>> backbone = Backbone("rgb", ["image"])
    >>> classifier = MLPClassifier(backbone.channels, classes=2, hidden=4)
    >>> segmenter = Segmenter(HypercolumnExtractor(backbone), classifier, ["sky", "ground"])
    >>> predictor = SegmentationPredictor(segmenter)  # or SegmentationPredictor.load("model.safetensors")
    >>> image = np.zeros((30, 44, 3), np.uint8)  # or a path, a PIL image, a tensor
    >>> prediction = predictor.predict(image)
    >>> prediction.labels.shape, prediction.labels.dtype
    ((30, 44), dtype('uint8'))
    >>> predictor.predict(image, detail="probabilities").probabilities.shape
    (2, 30, 44)
    >>> prediction.overlay(opacity=0.4, legend=False).size
    (44, 30)

    Args:
        segmenter: the model. It is in evaluation mode during each prediction, and in its previous mode afterwards.
        decoding: rules for reading images that take the place of those of the model, for example because the new images
            come from another instrument; None: the rules of the model.

    Attributes:
        decoding: the rules for reading images.
    """

    def __init__(self, segmenter: Segmenter, decoding: ImageDecoding | None = None) -> None:
        self.segmenter = segmenter
        self.decoding = segmenter.override_decoding(decoding or AS_STORED)

    @classmethod
    def load(cls, path: str | Path, decoding: ImageDecoding | None = None) -> "SegmentationPredictor":
        """Load a model on the CPU from a model file, a run's folder or a checkpoint, see `Segmenter.load`."""
        return cls(Segmenter.load(path), decoding)

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes."""
        return self.segmenter.classes

    def predict(
        self,
        image: ImageLike,
        adaptive: AdaptiveSettings | None = None,
        tta: TestTimeAugmentation = NO_TTA,
        detail: Detail = "labels",
    ) -> Prediction:
        """Predict the class of every pixel of an image.

        Args:
            image: a path, a PIL image, an array (H, W, C) or (H, W), or a tensor (3, H, W). The pixels of a path, a PIL
                image and an array become RGB by the rules `decoding`. Without rules, an array must be grey or RGB,
                uint8 or, for RGB, float in [0, 1]. A tensor is RGB, uint8 or float in [0, 1]. For a model of other
                channels, `decoding` chooses them, also from an array; a tensor holds them, in the same order.
            adaptive: the settings of adaptive prediction, which is faster and approximate. It can't be combined with
                `tta`, or with any `detail` but "labels". None: classify every pixel.
            tta: the views of the image over which class probabilities are averaged; the default is the image alone.
            detail: what to compute: "labels" for the labels only (the fastest), "certainty" for labels, confidence and
                entropy, or "probabilities" for all of these and the probabilities of all classes (the most memory).

        Returns:
            The prediction, with arrays of the image's height and width.

        Raises:
            HypercolumnsError: if `image` has none of the forms listed above, or is a file that can't be read; if
                `detail` is not known; or if `adaptive` is combined with `tta` or with a `detail` other than "labels".
        """
        if detail not in ("labels", "certainty", "probabilities"):
            raise ArgumentError(f"detail={detail} is not known; choose one of labels, certainty, probabilities")
        if adaptive is not None and detail != "labels":
            raise ArgumentError(
                f"detail={detail} needs the class probabilities of all pixels, but adaptive prediction skips pixels; "
                f"leave out adaptive, or choose detail=labels"
            )
        pixels = as_tensor(image, self.decoding)
        batch = pixels[None].to(self.segmenter.backbone.device)
        values: list[NDArray[np.float32]] = []
        with self.segmenter.predicting():
            if detail == "labels":
                labels = self.segmenter.labels(batch, adaptive, tta)[0]
            elif detail == "certainty":
                pixel_prediction = self.segmenter.predict_pixels(batch, tta)
                labels = pixel_prediction.labels[0]
                values = [_as_array(pixel_prediction.confidence[0]), _as_array(pixel_prediction.entropy[0])]
            else:
                probabilities = self.segmenter.class_probabilities(batch, tta)[0]
                best, confidence, entropy = (part[..., 0] for part in certainty(probabilities.movedim(0, -1)))
                labels = best.byte()
                values = [_as_array(part) for part in (confidence, entropy, probabilities)]
        if pixels.is_floating_point():
            pixels = (pixels * 255).round().clamp(0, 255).byte()
        shown = shown_channels(pixels).permute(1, 2, 0).cpu().numpy()
        return Prediction(labels.cpu().numpy(), shown, self.classes, self.segmenter.palette, *values)

    def logits(self, image: ImageLike) -> Tensor:
        """Compute the logits of all pixels of an image, which may have any form that `predict` takes.

        Returns:
            (classes, H, W) float32, on the CPU.
        """
        batch = as_tensor(image, self.decoding)[None].to(self.segmenter.backbone.device)
        with self.segmenter.predicting():
            logits: Tensor = self.segmenter(batch)
        return logits[0].float().cpu()


def _as_array(values: Tensor) -> NDArray[np.float32]:
    array: NDArray[np.float32] = values.float().cpu().numpy()
    return array


def as_tensor(image: ImageLike, decoding: ImageDecoding = AS_STORED) -> Tensor:
    """Convert an image to a tensor.

    Args:
        image: the image, in any form that `SegmentationPredictor.predict` takes.
        decoding: the rules that turn the pixels of files, PIL images and arrays into RGB or into other channels. A
            tensor holds these channels already.

    Returns:
        (N, H, W), uint8 or float32 in [0, 1], with N = `decoding.image_channels`.

    Raises:
        HypercolumnsError: if `image` has a type, shape, dtype or values that `SegmentationPredictor.predict` does not
            take, or if `image` is the path of a file that can't be read.
    """
    if isinstance(image, str | Path):
        if not os.path.exists(image):
            raise HypercolumnsError(f"image={image} does not exist; give the path of an image, or the image itself")
        try:
            return read_image(Path(image), decoding=decoding)
        except UnknownRangeError as error:
            raise name_values(Path(image), decoding, error) from None
    if isinstance(image, Image.Image):
        decoded = decode_image(image, "the image", decoding=decoding)
    elif isinstance(image, np.ndarray):
        if _is_float_rgb(image) and decoding == AS_STORED:
            return torch.from_numpy(np.ascontiguousarray(np.moveaxis(image, -1, 0))).float()
        decoded = _decode_array(image, decoding)
    else:
        return _checked(image, decoding.image_channels)
    return torch.from_numpy(np.ascontiguousarray(np.moveaxis(decoded, -1, 0)))


def _decode_array(image: NDArray[Any], decoding: ImageDecoding) -> NDArray[np.uint8]:
    """Turn an array (H, W) or (H, W, C) into the image (H, W, N) uint8 that the model sees."""
    expected = EXPECTED.format(channels=decoding.image_channels)
    values = image[..., None] if image.ndim == 2 else image
    if values.ndim != 3 or not values.size:
        raise HypercolumnsError(f"{expected}; the given image has the shape {(*image.shape,)}")
    if image.dtype.kind not in "uif":
        raise HypercolumnsError(f"{expected}; the given image has {image.dtype} values")
    counts = {1, RGB} if decoding.channels is None else {decoding.image_channels, max(decoding.channels) + 1}
    if values.shape[0] in counts and values.shape[-1] not in counts and image.ndim == 3:
        raise HypercolumnsError(
            f"an array must be (H, W, C), with the channels last; the given image has the shape {image.shape}, which "
            f"looks like (C, H, W); turn it with numpy.moveaxis(image, 0, -1), or give it as a path if it is a file"
        )
    if image.dtype.kind == "f":
        _check_floats(image, decoding)
    native = values.astype(values.dtype.newbyteorder("="), copy=False)
    return decoding.decode(native, array_layout(native), "the image")


def _check_floats(image: NDArray[Any], decoding: ImageDecoding) -> None:
    """Raise HypercolumnsError if floats are in [0, 1], but the range is so wide that all of them would become black."""
    if decoding.interval is None:
        return
    low, high = decoding.interval
    finite = image[np.isfinite(image)]
    if finite.size and high - low >= WHITE and 0 <= finite.min() and 0 < finite.max() <= 1:
        raise HypercolumnsError(
            f"the image holds floats from {finite.min():g} to {finite.max():g}, but the model reads values from "
            f"{low:g} (black) to {high:g} (white), so the image would be black; give the values as the files store "
            f"them, or, if 0 is black and 1 is white, decoding=ImageDecoding(range=(0, 1)) to SegmentationPredictor"
        )


def _is_float_rgb(image: NDArray[Any]) -> bool:
    """Return whether an array is RGB (H, W, 3) in [0, 1]."""
    right_shape = image.ndim == 3 and image.shape[-1] == 3 and image.size > 0
    return right_shape and image.dtype.kind == "f" and bool(0 <= image.min() <= image.max() <= 1)


def _checked(image: object, channels: int) -> Tensor:
    """Check a tensor of an image with `channels` channels, and return it as uint8 or float32."""
    expected = EXPECTED.format(channels=channels)
    if not (isinstance(image, Tensor) and image.ndim == 3 and image.shape[0] == channels and image.numel()):
        fault = f"the shape {(*image.shape,)}" if isinstance(image, Tensor) else f"the type {type(image).__name__}"
        raise HypercolumnsError(f"{expected}; the given image has {fault}")
    if image.dtype == torch.uint8:
        return image
    if not image.is_floating_point() or not 0 <= image.min() <= image.max() <= 1:
        values = f"{image.dtype} values from {image.min()} to {image.max()}".removeprefix("torch.")
        raise HypercolumnsError(f"{expected}; the given image has {values}")
    return image.float()
