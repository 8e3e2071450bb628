"""The complete model: backbone, hypercolumns and classifier, from an image to its labels."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from hypercolumns.coordinates import PixelCoordinates, full_image_box, normalised_coordinates
from hypercolumns.errors import HypercolumnsError, check_fraction, is_out_of_memory, summarize_error
from hypercolumns.io.images import (
    IGNORE_INDEX,
    Palette,
    as_rgb,
    is_class_name,
    read_image,
    voc_palette,
)
from hypercolumns.models import model_file
from hypercolumns.models.backbones import Backbone
from hypercolumns.models.backbones.networks import libraries
from hypercolumns.models.classifiers import KINDS, Classifier
from hypercolumns.models.engine import AdaptiveSettings, Head, adaptive_labels, classify
from hypercolumns.models.extractor import MAX_WINDOW_PIXELS, hypercolumns_at, windows
from hypercolumns.models.hypercolumn import Alignment, ImageSize, check_alignment
from hypercolumns.models.tta import NO_TTA, TestTimeAugmentation
from hypercolumns.visualization.overlays import overlay_with_legend

EXPECTED = (
    "an image must be a path, a PIL image, a uint8 array (H, W, 3), or a tensor (3, H, W), uint8 or float in [0, 1]"
)
HEADER_KEYS = {"format", "backbone", "alignment", "resize", "classifier", "classes", "palette", "versions"}
MAX_RESIZE = 1 << 16  # pixels of a side that a model file may have images resized to
ImageLike = str | Path | Image.Image | NDArray[np.uint8] | Tensor


class PixelPrediction(NamedTuple):
    """What was decided at every pixel of images, and how sure that is.

    Attributes:
        labels: (B, H, W) uint8, the most probable classes.
        confidence: (B, H, W) float16, their probabilities.
        entropy: (B, H, W) float16, that of all classes' probabilities, as a share of its maximum, log(classes).
        probabilities: (B, classes, H, W) float16, where they were asked for.
    """

    labels: Tensor
    confidence: Tensor
    entropy: Tensor
    probabilities: Tensor | None


class Segmenter(nn.Module):
    """Semantic segmentation by hypercolumns.

    Shapes: images are (B, 3, H, W) float in [0, 1], logits (B, classes, H, W), points (B, N, 2) as (y, x) in pixels,
    boxes (B, 4), see `coordinates`: where the images lie whose crops these are; without boxes they are no crops.

    >>> segmenter = Segmenter.load("model.safetensors")
    >>> segmenter.classes
    ('ground', 'cat', 'dog')
    >>> labels = segmenter.predict("street.jpg")  # or a PIL image, an array, a tensor
    >>> labels.shape, labels.dtype
    ((30, 44), dtype('uint8'))
    >>> segmenter.probabilities("street.jpg").shape
    (3, 30, 44)
    >>> segmenter.overlay("street.jpg", opacity=0.4).save("overlay.png")
    """

    def __init__(
        self,
        backbone: Backbone,
        classifier: Classifier,
        classes: Sequence[str],
        palette: Palette | None = None,
        alignment: Alignment = "exact",
        resize: ImageSize | None = None,
        window: int = MAX_WINDOW_PIXELS,
    ) -> None:
        """Put the parts together.

        Args:
            backbone: gives the maps.
            classifier: of hypercolumns as long as the backbone's taps are together.
            classes: the names, in the order of the classifier's outputs.
            palette: their colours; Pascal VOC's by default.
            alignment: how pixels lie among the cells of a map, see `hypercolumn.cell_centres`.
            resize: (height, width) that the backbone sees every image at; None for the image's own size. Logits are
                those of the pixels of the image itself either way.
            window: how many pixels of an image the backbone sees at once; of larger images it sees one window after
                the other. What comes out is the same.

        Raises:
            HypercolumnsError: for an unknown alignment, and more than 255 classes.
        """
        super().__init__()
        self.backbone = backbone
        self.classifier = classifier
        check_alignment(alignment)
        if len(classes) > IGNORE_INDEX:
            raise HypercolumnsError(
                f"{len(classes)} classes are more than the {IGNORE_INDEX} that a mask can tell apart"
            )
        self.alignment = alignment
        self.classes = tuple(classes)
        self.palette = palette or voc_palette(len(self.classes))
        self.resize = resize
        self.window = window

    def forward(self, images: Tensor, boxes: Tensor | None = None) -> Tensor:
        """The logits of every pixel: (B, classes, H, W)."""
        return self._classify(images, self.classifier.head, boxes).permute(0, 3, 1, 2)

    def labels(
        self, images: Tensor, adaptive: AdaptiveSettings | None = None, tta: TestTimeAugmentation = NO_TTA
    ) -> Tensor:
        """The class of every pixel, (B, H, W) uint8, without holding the logits of all; no gradients.

        With `adaptive`, only some pixels are classified, and most of the classes are still the same. Of several `views`
        it is the most probable class on average, which takes the memory of `probabilities_of_batch`; raises
        HypercolumnsError for both together.
        """
        with torch.no_grad():
            if tta != NO_TTA:
                if adaptive is not None:
                    raise HypercolumnsError(
                        "adaptive=true classifies one view of an image; leave out tta.flip and tta.scales, or adaptive"
                    )
                return self.probabilities_of_batch(images, tta).argmax(1).to(torch.uint8)
            if adaptive is not None:
                return self._adaptive_labels(images, adaptive)
            head = self.classifier.head
            return self._classify(images, lambda *seen: head(*seen).argmax(-1, keepdim=True).to(torch.uint8))[..., 0]

    def decisions(
        self, images: Tensor, tta: TestTimeAugmentation = NO_TTA, probabilities: bool = False
    ) -> PixelPrediction:
        """The labels with their certainty, and the probabilities they come from if those are wanted; no gradients.

        Of one view, no more than that is held for all pixels; several take the memory of `probabilities_of_batch`.
        """

        def decide(found: Tensor) -> Tensor:  # half precision holds every label exactly
            entropy = torch.special.entr(found).sum(-1, keepdim=True) / math.log(max(found.shape[-1], 2))
            confidence, labels = found.max(-1, keepdim=True)
            return torch.cat([labels, confidence, entropy, *([found] if probabilities else [])], -1).half()

        with torch.no_grad():
            if tta == NO_TTA:
                head = self.classifier.head
                decided = self._classify(images, lambda *seen: decide(head(*seen).float().softmax(-1)))
            else:
                decided = decide(self.probabilities_of_batch(images, tta).movedim(1, -1))
        labels, confidence, entropy = decided[..., :3].unbind(-1)
        return PixelPrediction(
            labels.byte(), confidence, entropy, decided[..., 3:].movedim(-1, 1) if probabilities else None
        )

    def probabilities_of_batch(self, images: Tensor, tta: TestTimeAugmentation = NO_TTA) -> Tensor:
        """The probability of each class at every pixel, (B, classes, H, W), the mean over the views; no gradients."""
        total: Tensor | None = None
        with torch.no_grad():
            for size, flipped in tta.of(self.resize or (images.shape[-2], images.shape[-1])):
                logits = self._classify(images.flip(-1) if flipped else images, self.classifier.head, seen=size)
                found = logits.float().softmax(-1)
                found = found.flip(2) if flipped else found
                total = found if total is None else total.add_(found)
        assert total is not None, "there is at least one view"
        return total.div_(len(tta)).permute(0, 3, 1, 2)

    def hypercolumns_at(self, images: Tensor, points: Tensor, boxes: Tensor | None = None) -> Tensor:
        """The hypercolumns at points (B, N, 2), as (B, N, D)."""
        return hypercolumns_at(self.backbone, images, points, self.alignment, self.resize, self.window, boxes)

    def logits_at(self, images: Tensor, points: Tensor, boxes: Tensor | None = None) -> Tensor:
        """The logits at points (B, N, 2), as (B, N, classes)."""
        where = normalised_coordinates(
            points[..., 0], points[..., 1], full_image_box(images.shape[-2:]) if boxes is None else boxes
        )
        logits: Tensor = self.classifier(self.hypercolumns_at(images, points, boxes), where)
        return logits

    def predict_logits_at(self, images: Tensor, points: Tensor, boxes: Tensor | None = None) -> Tensor:
        """`logits_at` as in prediction, without dropout and gradients, float32, on the CPU."""
        with self._predicting():
            logits = self.logits_at(images.to(self.backbone.get_buffer("mean").device), points, boxes)
        return logits.float().cpu()

    def logits(self, image: ImageLike) -> Tensor:
        """The logits of one image (see `predict`), (classes, H, W) float32, on the CPU."""
        with self._predicting():
            logits: Tensor = self(self._batch(image))
        return logits[0].float().cpu()

    def predict(
        self, image: ImageLike, adaptive: AdaptiveSettings | None = None, tta: TestTimeAugmentation = NO_TTA
    ) -> NDArray[np.uint8]:
        """The class index of every pixel, (H, W) uint8; `adaptive` and `views` as for `labels`.

        `image` is a path, a PIL image, an array (H, W, 3) uint8, or a tensor (3, H, W), uint8 or float in [0, 1].
        """
        with self._predicting():
            labels = self.labels(self._batch(image), adaptive, tta)
        array: NDArray[np.uint8] = labels[0].cpu().numpy()
        return array

    def probabilities(self, image: ImageLike, tta: TestTimeAugmentation = NO_TTA) -> NDArray[np.float32]:
        """The probability of each class at every pixel of one image (see `predict`), (classes, H, W) in [0, 1]."""
        with self._predicting():
            found = self.probabilities_of_batch(self._batch(image), tta)
        array: NDArray[np.float32] = found[0].float().cpu().numpy()
        return array

    def overlay(
        self,
        image: ImageLike,
        opacity: float = 0.5,
        legend: bool = True,
        adaptive: AdaptiveSettings | None = None,
        tta: TestTimeAugmentation = NO_TTA,
    ) -> Image.Image:
        """One image (see `predict`) under the colours of its classes, above their names if `legend`.

        `opacity` is that of the colours, from 0 to 1.
        """
        check_fraction("opacity", opacity)
        pixels = as_tensor(image)
        labels = self.predict(pixels, adaptive, tta)
        if pixels.is_floating_point():
            pixels = (pixels * 255).round().clamp(0, 255).byte()
        return overlay_with_legend(
            pixels.permute(1, 2, 0).numpy(), labels, self.classes if legend else None, self.palette, opacity
        )

    def save(self, path: str | Path) -> None:
        """Write one self-contained safetensors file: weights, and what they are of in a JSON header."""
        model_file.write_model(Path(path), self.header(), self.tensors())

    def tensors(self) -> dict[str, Tensor]:
        """All that has been learnt, on the CPU."""
        return {name: tensor.detach().cpu().contiguous() for name, tensor in self.state_dict().items()}

    def header(self) -> model_file.Header:
        """What the tensors are of, as JSON can say it."""
        return {
            "format": model_file.FORMAT,
            "backbone": {key: value for key, value in self.backbone.fingerprint().items() if key != "weights"},
            "alignment": self.alignment,
            "resize": self.resize,
            "classifier": {"kind": self.classifier.kind, **self.classifier.settings()},
            "classes": self.classes,
            "palette": self.palette,
            "versions": {name: version(name) for name in ("hypercolumns", *libraries(self.backbone.network))},
        }

    @classmethod
    def load(cls, path: str | Path) -> "Segmenter":
        """Read a file that `save` wrote, by its path or that of its folder, or a checkpoint of a training.

        Nothing in it is imported or executed, and nothing is downloaded. Raises HypercolumnsError if it is missing,
        damaged, or something else.
        """
        path = model_file.find_model(Path(path))
        header, tensors = model_file.read_model(path)
        try:
            _check_header(header, tensors)
            backbone_header, classifier_header = dict(header["backbone"]), dict(header["classifier"])
            kind = KINDS[classifier_header.pop("kind")]
            backbone = Backbone(**backbone_header, weights=_below("backbone.body.", tensors))
            classes = header["classes"]
            with torch.device("meta"):  # so that nothing large is made before it is known to fit
                classifier = kind(backbone.channels, len(classes), **classifier_header)
            of_classifier = _below("classifier.", tensors)
            classifier.load_state_dict({name: one.float() for name, one in of_classifier.items()}, assign=True)
            segmenter = cls(
                backbone,
                classifier,
                classes,
                tuple((r, g, b) for r, g, b in header["palette"]),
                header["alignment"],
                tuple(header["resize"]) if header["resize"] else None,
            )
            segmenter.load_state_dict(tensors)
        except Exception as error:  # of a header that may say anything
            if is_out_of_memory(error):
                raise
            raise HypercolumnsError(
                f"model={path} does not hold what its header says ({summarize_error(error)}); "
                f"pass a {model_file.MODEL_FILE} that this program wrote"
            ) from error
        return segmenter.eval()

    def _classify(
        self,
        images: Tensor,
        head: Callable[[Tensor, PixelCoordinates], Tensor],
        boxes: Tensor | None = None,
        seen: ImageSize | None = None,
    ) -> Tensor:
        """`head` of the first layer of every pixel, (B, H, W, ...); the backbone sees the images at size `seen`."""
        weight, bias = self.classifier.folded_first_layer()
        head_at = _bind_coordinates(head, full_image_box(images.shape[-2:]) if boxes is None else boxes)
        parameters = self.classifier.head_parameters()
        whole: Tensor | None = None
        for rows, columns, maps in windows(
            self.backbone, images, self.alignment, seen or self.resize, self.window, boxes
        ):
            pixels = torch.arange(rows.start, rows.stop), torch.arange(columns.start, columns.stop)
            part = classify(maps, *pixels, weight, bias, head_at, parameters)
            if part.shape[1:3] == images.shape[-2:]:
                return part
            if whole is None:
                whole = part.new_empty(len(images), *images.shape[-2:], part.shape[-1])
            whole[:, rows, columns] = part
            del maps  # before the next window's are made
        assert whole is not None, "there is at least one window"
        return whole

    def _adaptive_labels(self, images: Tensor, adaptive: AdaptiveSettings) -> Tensor:
        weight, bias = self.classifier.folded_first_layer()
        head_at = _bind_coordinates(self.classifier.head, full_image_box(images.shape[-2:]))
        labels = torch.empty(len(images), *images.shape[-2:], dtype=torch.uint8, device=images.device)
        for rows, columns, maps in windows(self.backbone, images, self.alignment, self.resize, self.window):
            for image, own in enumerate(labels[:, rows, columns]):
                own.copy_(
                    adaptive_labels(
                        [one._replace(values=one.values[image : image + 1]) for one in maps],
                        rows,
                        columns,
                        weight,
                        bias,
                        head_at,
                        adaptive,
                    )
                )
            del maps  # before the next window's are made
        return labels

    @contextmanager
    def _predicting(self) -> Iterator[None]:
        """In evaluation mode and without gradients."""
        mode = self.training
        self.eval()
        try:
            with torch.inference_mode():
                yield
        finally:
            self.train(mode)

    def _batch(self, image: ImageLike) -> Tensor:
        return as_tensor(image)[None].to(self.backbone.get_buffer("mean").device)


def _check_header(header: model_file.Header, tensors: Mapping[str, Tensor]) -> None:
    """Raise ValueError for what the parts of a segmenter would take, and stumble over later or never end with."""
    unknown = set(header) - HEADER_KEYS
    if unknown:
        raise ValueError(f"{', '.join(sorted(unknown))} is unknown")
    classes, palette, resize = header["classes"], header["palette"], header["resize"]
    if not isinstance(classes, list) or not all(map(is_class_name, classes)) or len(set(classes)) != len(classes):
        raise ValueError("classes must be different names")
    colours = isinstance(palette, list) and all(isinstance(one, list) and len(one) == 3 for one in palette)
    if not colours or len(palette) != len(classes) or not all(part in range(256) for one in palette for part in one):
        raise ValueError("palette must be the colours of the classes, [red, green, blue] from 0 to 255")
    sides = resize if isinstance(resize, list) else []
    if resize is not None and not (
        len(sides) == 2 and all(type(one) is int and 0 < one <= MAX_RESIZE for one in sides)
    ):
        raise ValueError(f"resize={resize} must be [height, width], up to {MAX_RESIZE}, or null")
    hidden = header["classifier"].get("hidden")
    if isinstance(hidden, list) and len(hidden) > len(tensors):
        raise ValueError("the classifier has more layers than there are tensors")
    spread = [name for name, one in tensors.items() if one.nbytes > one.untyped_storage().nbytes()]
    if spread:  # which could be of any size
        raise ValueError(f"{spread[0]} is larger than what the file holds of it")
    strange = [name for name, tensor in tensors.items() if not tensor.isfinite().all()]
    if strange:
        raise ValueError(f"{strange[0]} has numbers that are not finite")


def _below(path: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of the module at that path (with its full stop), named as it names them."""
    return {name.removeprefix(path): tensor for name, tensor in tensors.items() if name.startswith(path)}


def _bind_coordinates(head: Callable[[Tensor, PixelCoordinates], Tensor], boxes: Tensor) -> Head:
    """`head` as `classify` calls it: by the rows and columns of pixels, whose coordinates it is told."""
    boxes = boxes.cpu()  # where rows and columns are
    return lambda hidden, rows, columns: head(hidden, normalised_coordinates(rows, columns, boxes))


def as_tensor(image: ImageLike) -> Tensor:
    """An image in any of the forms that `Segmenter.predict` takes, as (3, H, W), uint8 or float in [0, 1]."""
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
