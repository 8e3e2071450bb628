"""From pictures to labels: a segmenter for images one at a time, in any of their usual forms."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from hypercolumns.errors import ArgumentError, HypercolumnsError, check_fraction
from hypercolumns.io.images import as_rgb, read_image, write_mask
from hypercolumns.labels import Palette
from hypercolumns.models.engine import AdaptiveSettings
from hypercolumns.models.pixel_prediction import Detail, certainty
from hypercolumns.models.segmenter import Segmenter
from hypercolumns.models.tta import NO_TTA, TestTimeAugmentation
from hypercolumns.visualization.overlays import overlay_with_legend

EXPECTED = (
    "an image must be a path, a PIL image, a uint8 array (H, W, 3), or a tensor (3, H, W), uint8 or float in [0, 1]"
)
ImageLike = str | Path | Image.Image | NDArray[np.uint8] | Tensor


@dataclass(frozen=True, eq=False)
class Prediction:
    """What was predicted of an image.

    >>> prediction = Prediction(np.zeros((4, 6), np.uint8), np.full((4, 6, 3), 90, np.uint8), ("sky",), ((0, 0, 255),))
    >>> prediction.overlay(opacity=1.0, legend=False).getpixel((0, 0))
    (0, 0, 255)
    >>> prediction.save("sky.png")
    >>> with Image.open("sky.png") as mask:
    ...     mask.mode
    'P'

    Attributes:
        labels: (H, W) uint8, the index of each pixel's class.
        image: (H, W, 3) uint8, what was predicted.
        classes: the names of the classes.
        palette: their colours.
        confidence: (H, W) float32, the probability of the label; None unless asked for, see
            `SegmentationPredictor.predict`.
        entropy: (H, W) float32, that of all classes' probabilities, as a share of its maximum; None unless asked for.
        probabilities: (classes, H, W) float32; None unless asked for.
    """

    labels: NDArray[np.uint8]
    image: NDArray[np.uint8]
    classes: Sequence[str]
    palette: Palette
    confidence: NDArray[np.float32] | None = None
    entropy: NDArray[np.float32] | None = None
    probabilities: NDArray[np.float32] | None = None

    def overlay(self, opacity: float = 0.5, legend: bool = True) -> Image.Image:
        """The image under the colours of its classes, above their names if `legend`; an opacity of 0 shows none."""
        check_fraction("opacity", opacity)
        return overlay_with_legend(self.image, self.labels, self.classes if legend else None, self.palette, opacity)

    def save(self, path: str | Path) -> None:
        """Write the labels as a palette PNG, whole or not at all."""
        write_mask(Path(path), self.labels, self.palette)


class SegmentationPredictor:
    """A trained segmenter for single images.

    >>> predictor = SegmentationPredictor.load("model.safetensors")
    >>> predictor.classes
    ('ground', 'cat', 'dog')
    >>> prediction = predictor.predict("street.jpg")  # or a PIL image, an array, a tensor
    >>> prediction.labels.shape, prediction.labels.dtype
    ((30, 44), dtype('uint8'))
    >>> predictor.predict("street.jpg", detail="probabilities").probabilities.shape
    (3, 30, 44)
    >>> prediction.overlay(opacity=0.4).save("overlay.png")

    Attributes:
        segmenter: what predicts.
    """

    def __init__(self, segmenter: Segmenter) -> None:
        """Predict with a segmenter, on the device that it is on; its mode stays as it is."""
        self.segmenter = segmenter

    @classmethod
    def load(cls, path: str | Path) -> "SegmentationPredictor":
        """Read a model: see `Segmenter.load`."""
        return cls(Segmenter.load(path))

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
            image: a path, a PIL image, an array (H, W, 3) uint8, or a tensor (3, H, W), uint8 or float in [0, 1].
            adaptive: see `Segmenter.labels`; for labels alone.
            tta: average the probabilities of several views.
            detail: what to compute: "labels" is cheapest; "certainty" adds confidence and entropy, and "probabilities"
                those of all classes, which are held in memory.

        Raises:
            HypercolumnsError: if the image is none, or `adaptive` is given with `tta` or with more than labels.
        """
        if detail not in ("labels", "certainty", "probabilities"):
            raise ArgumentError(f"detail={detail} is not known; choose one of labels, certainty, probabilities")
        if adaptive is not None and detail != "labels":
            raise ArgumentError(f"detail={detail} takes the probabilities of all pixels; leave out adaptive")
        pixels = as_tensor(image)
        batch = pixels[None].to(self.segmenter.backbone.device)
        values: list[NDArray[np.float32]] = []
        with self.segmenter.predicting():
            if detail == "labels":
                labels = self.segmenter.labels(batch, adaptive, tta)[0]
            elif detail == "certainty":
                found = self.segmenter.predict_pixels(batch, tta)
                labels, values = found.labels[0], [_as_array(one[0]) for one in (found.confidence, found.entropy)]
            else:
                probabilities = self.segmenter.class_probabilities(batch, tta)[0]
                decided = [one[..., 0] for one in certainty(probabilities.movedim(0, -1))]
                labels, values = decided[0].byte(), [_as_array(one) for one in (*decided[1:], probabilities)]
        if pixels.is_floating_point():
            pixels = (pixels * 255).round().clamp(0, 255).byte()
        shown = pixels.permute(1, 2, 0).cpu().numpy()
        return Prediction(labels.cpu().numpy(), shown, self.classes, self.segmenter.palette, *values)

    def logits(self, image: ImageLike) -> Tensor:
        """The logits of an image (see `predict`), (classes, H, W) float32, on the CPU."""
        batch = as_tensor(image)[None].to(self.segmenter.backbone.device)
        with self.segmenter.predicting():
            logits: Tensor = self.segmenter(batch)
        return logits[0].float().cpu()


def _as_array(values: Tensor) -> NDArray[np.float32]:
    array: NDArray[np.float32] = values.float().cpu().numpy()
    return array


def as_tensor(image: ImageLike) -> Tensor:
    """An image in any form that `SegmentationPredictor.predict` takes, as (3, H, W), uint8 or float in [0, 1]."""
    if isinstance(image, str | Path):
        image = read_image(Path(image))
    elif isinstance(image, Image.Image):
        image = np.array(as_rgb(image, "the image"))
    if isinstance(image, np.ndarray) and image.ndim == 3:
        image = torch.from_numpy(np.ascontiguousarray(np.moveaxis(image, -1, 0)))
    if not (isinstance(image, Tensor) and image.ndim == 3 and image.shape[0] == 3 and image.numel()):
        kind = f"of shape {(*image.shape,)}" if isinstance(image, np.ndarray | Tensor) else type(image).__name__
        raise HypercolumnsError(f"{EXPECTED}; this one is {kind}")
    if image.dtype == torch.uint8:
        return image
    if not image.is_floating_point() or not 0 <= image.min() <= image.max() <= 1:
        values = f"{image.dtype} from {image.min()} to {image.max()}".removeprefix("torch.")
        raise HypercolumnsError(f"{EXPECTED}; this one holds {values}")
    return image.float()
