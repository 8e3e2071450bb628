"""The complete model: hypercolumns and a classifier, from a batch of images to logits and labels."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor, nn

from hypercolumns.coordinates import ImageSize, PixelCoordinates, full_image_box, normalised_coordinates
from hypercolumns.errors import HypercolumnsError
from hypercolumns.labels import IGNORE_INDEX, Palette, voc_palette
from hypercolumns.models import model_file
from hypercolumns.models.classifiers import Classifier
from hypercolumns.models.engine import AdaptiveSettings, Head, adaptive_labels, classify
from hypercolumns.models.extractor import HypercolumnExtractor
from hypercolumns.models.pixel_prediction import PixelPrediction, certainty
from hypercolumns.models.tta import NO_TTA, TestTimeAugmentation


class Segmenter(nn.Module):
    """Semantic segmentation by hypercolumns, of batches of images; of single ones see `SegmentationPredictor`.

    Shapes: images are (B, 3, H, W), uint8 or float in [0, 1], logits (B, classes, H, W), points (B, N, 2) as (y, x) in
    pixels. Boxes are (B, 4), see `coordinates`: where the images lie whose crops these are; without them they are none.

    >>> backbone = Backbone("squeezenet1_0", ["features.0", "features.3.squeeze"])
    >>> classifier = MLPClassifier(backbone.channels, 3, hidden=8)
    >>> segmenter = Segmenter(HypercolumnExtractor(backbone), classifier, ["ground", "cat", "dog"])
    >>> images = torch.rand(2, 3, 40, 50)
    >>> segmenter(images).shape
    torch.Size([2, 3, 40, 50])
    >>> segmenter.labels(images).dtype
    torch.uint8
    >>> segmenter.predict_pixels(images).confidence.shape
    torch.Size([2, 40, 50])
    >>> segmenter.save("model.safetensors")
    >>> Segmenter.load("model.safetensors").classes
    ('ground', 'cat', 'dog')

    Attributes:
        backbone: gives the maps.
        classifier: of hypercolumns.
        classes: their names; `palette`, their colours.
        extractor: makes hypercolumns of the backbone's maps; no part of the state dict, which has the backbone.
    """

    def __init__(
        self,
        extractor: HypercolumnExtractor,
        classifier: Classifier,
        classes: Sequence[str],
        palette: Palette | None = None,
    ) -> None:
        """Put the parts together.

        Args:
            extractor: gives the hypercolumns of images. Logits are those of the pixels of the images themselves,
                whatever size its backbone sees them at.
            classifier: of hypercolumns as long as the extractor's.
            classes: the names, in the order of the classifier's outputs.
            palette: their colours; Pascal VOC's by default.

        Raises:
            HypercolumnsError: for more than 255 classes.
        """
        super().__init__()
        self.backbone = extractor.backbone
        self.classifier = classifier
        # In a tuple, so that it is not taken for a part of this module: model files name the backbone's tensors once.
        self._extractor = (extractor,)
        if len(classes) > IGNORE_INDEX:
            raise HypercolumnsError(
                f"{len(classes)} classes are more than the {IGNORE_INDEX} that a mask can tell apart"
            )
        self.classes = tuple(classes)
        self.palette = palette or voc_palette(len(self.classes))

    @property
    def extractor(self) -> HypercolumnExtractor:
        """What makes hypercolumns of the backbone's maps."""
        return self._extractor[0]

    def forward(self, images: Tensor, boxes: Tensor | None = None) -> Tensor:
        """The logits of every pixel: (B, classes, H, W)."""
        return self._classify(images, self.classifier.head, boxes).permute(0, 3, 1, 2)

    def logits_at(self, images: Tensor, points: Tensor, boxes: Tensor | None = None) -> Tensor:
        """The logits at points (B, N, 2), as (B, N, classes)."""
        where = normalised_coordinates(
            points[..., 0], points[..., 1], full_image_box(images.shape[-2:]) if boxes is None else boxes
        )
        logits: Tensor = self.classifier(self.extractor.at(images, points, boxes), where)
        return logits

    def predict_logits_at(self, images: Tensor, points: Tensor, boxes: Tensor | None = None) -> Tensor:
        """`logits_at` as in prediction, without dropout and gradients, float32, on the CPU."""
        with self.predicting():
            logits = self.logits_at(images.to(self.backbone.device), points, boxes)
        return logits.float().cpu()

    def labels(
        self, images: Tensor, adaptive: AdaptiveSettings | None = None, tta: TestTimeAugmentation = NO_TTA
    ) -> Tensor:
        """Predict the class of every pixel without storing the logits; no gradients.

        Args:
            images: (B, 3, H, W).
            adaptive: classify a coarse grid and refine it only where needed (approximate).
            tta: average the probabilities of several views; takes the memory of `class_probabilities`.

        Returns:
            (B, H, W) uint8.

        Raises:
            HypercolumnsError: if both `adaptive` and `tta` are given.
        """
        with torch.no_grad():
            if tta != NO_TTA:
                if adaptive is not None:
                    raise HypercolumnsError("adaptive classifies one view of an image; leave out either it or tta")
                return self.class_probabilities(images, tta).argmax(1).to(torch.uint8)
            if adaptive is not None:
                return self._adaptive_labels(images, adaptive)
            head = self.classifier.head
            return self._classify(images, lambda *seen: head(*seen).argmax(-1, keepdim=True).to(torch.uint8))[..., 0]

    def predict_pixels(
        self, images: Tensor, tta: TestTimeAugmentation = NO_TTA, probabilities: bool = False
    ) -> PixelPrediction:
        """Predict labels and how sure they are, in half precision; no gradients.

        Of one view, only what is returned is held for all pixels; several take the memory of `class_probabilities`.

        Args:
            images: (B, 3, H, W).
            tta: average the probabilities of several views.
            probabilities: whether to return those of all classes, too.
        """

        def decide(found: Tensor) -> Tensor:  # half precision holds every label exactly
            return torch.cat([*certainty(found), *([found] if probabilities else [])], -1).half()

        with torch.no_grad():
            if tta == NO_TTA:
                head = self.classifier.head
                decided = self._classify(images, lambda *seen: decide(head(*seen).float().softmax(-1)))
            else:
                decided = decide(self.class_probabilities(images, tta).movedim(1, -1))
        labels, confidence, entropy = decided[..., :3].unbind(-1)
        return PixelPrediction(
            labels.byte(), confidence, entropy, decided[..., 3:].movedim(-1, 1) if probabilities else None
        )

    def class_probabilities(self, images: Tensor, tta: TestTimeAugmentation = NO_TTA) -> Tensor:
        """The probability of each class at every pixel, (B, classes, H, W), the mean over the views; no gradients."""
        total: Tensor | None = None
        with torch.no_grad():
            for size, flipped in tta.of(self.extractor.resize or (images.shape[-2], images.shape[-1])):
                logits = self._classify(images.flip(-1) if flipped else images, self.classifier.head, resize=size)
                found = logits.float().softmax(-1)
                found = found.flip(2) if flipped else found
                total = found if total is None else total.add_(found)
        assert total is not None, "there is at least one view"
        return total.div_(len(tta)).permute(0, 3, 1, 2)

    @contextmanager
    def predicting(self) -> Iterator[None]:
        """Inside, it is in evaluation mode and without gradients; then in the mode that it was in."""
        mode = self.training
        self.eval()
        try:
            with torch.inference_mode():
                yield
        finally:
            self.train(mode)

    def save(self, path: str | Path) -> None:
        """Write one self-contained safetensors file: weights, and what they are of in a JSON header."""
        model_file.write_model(Path(path), self.header(), self.tensors())

    @classmethod
    def load(cls, path: str | Path) -> "Segmenter":
        """Read a file that `save` wrote, by its path or that of its folder, or a checkpoint of a training.

        Nothing in it is imported or executed, and nothing is downloaded.

        Raises:
            ArgumentError: if it is missing, damaged, or something else; the message begins with the path.
        """
        return model_file.load_model(Path(path), cls)

    def tensors(self) -> dict[str, Tensor]:
        """All that has been learnt, on the CPU."""
        return {name: tensor.detach().cpu().contiguous() for name, tensor in self.state_dict().items()}

    def header(self) -> model_file.Header:
        """What the tensors are of, as JSON can say it."""
        return model_file.make_header(
            self.backbone, self.extractor.settings(), self.classifier, self.classes, self.palette
        )

    def _classify(
        self,
        images: Tensor,
        head: Callable[[Tensor, PixelCoordinates], Tensor],
        boxes: Tensor | None = None,
        resize: ImageSize | None = None,
    ) -> Tensor:
        """`head` of the first layer of every pixel, (B, H, W, ...); `resize` in place of the extractor's."""
        weight, bias = self.classifier.folded_first_layer()
        bound = _bind_coordinates(head, full_image_box(images.shape[-2:]) if boxes is None else boxes)
        parameters = self.classifier.head_parameters()
        whole: Tensor | None = None
        for rows, columns, maps in self.extractor.windows(images, boxes, resize):
            pixels = torch.arange(rows.start, rows.stop), torch.arange(columns.start, columns.stop)
            part = classify(maps, *pixels, weight, bias, bound, parameters)
            if part.shape[1:3] == images.shape[-2:]:
                return part
            if whole is None:
                whole = part.new_empty(len(images), *images.shape[-2:], part.shape[-1])
            whole[:, rows, columns] = part
            del maps  # before the next window's are made
        assert whole is not None, "there is at least one window"
        return whole

    def _adaptive_labels(self, images: Tensor, adaptive: AdaptiveSettings) -> Tensor:
        first_layer = self.classifier.folded_first_layer()
        head = _bind_coordinates(self.classifier.head, full_image_box(images.shape[-2:]))
        labels = torch.empty(len(images), *images.shape[-2:], dtype=torch.uint8, device=images.device)
        for rows, columns, maps in self.extractor.windows(images):
            for image, own in enumerate(labels[:, rows, columns]):
                of_image = [one._replace(values=one.values[image : image + 1]) for one in maps]
                own.copy_(adaptive_labels(of_image, rows, columns, *first_layer, head, adaptive))
                del of_image
            del maps  # before the next window's are made
        return labels


def _bind_coordinates(head: Callable[[Tensor, PixelCoordinates], Tensor], boxes: Tensor) -> Head:
    """`head` as `classify` calls it: by the rows and columns of pixels, whose coordinates it is told."""
    boxes = boxes.cpu()  # where rows and columns are
    return lambda hidden, rows, columns: head(hidden, normalised_coordinates(rows, columns, boxes))
