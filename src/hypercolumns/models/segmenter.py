"""The complete model, which computes logits and labels for a batch of images."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor, nn

from hypercolumns.coordinates import ImageSize, PixelCoordinates, full_image_box, normalised_coordinates
from hypercolumns.errors import HypercolumnsError
from hypercolumns.io.decoding import AS_STORED, ImageDecoding, shown
from hypercolumns.labels import IGNORE_INDEX, LabelScheme, Palette, voc_palette
from hypercolumns.models import model_file
from hypercolumns.models.classifiers import Classifier
from hypercolumns.models.dense_prediction import (
    PixelHead,
    VisitPixels,
    classify_pixels,
    label_adaptively,
    visit_pixels,
)
from hypercolumns.models.engine import AdaptiveSettings
from hypercolumns.models.extractor import HypercolumnExtractor
from hypercolumns.models.pixel_prediction import CollectedPrediction, PixelPrediction
from hypercolumns.models.second_pass import SecondPass, features_at, with_surroundings
from hypercolumns.models.tta import NO_TTA, TestTimeAugmentation
from hypercolumns.models.view_average import ViewAverage
from hypercolumns.models.windows import ImageView


class Segmenter(nn.Module):
    """Segment batches of images with hypercolumns and a pixel classifier.

    `SegmentationPredictor` segments single images.

    Shapes: images are (B, 3, H, W), uint8 or float in [0, 1], with `backbone.input_channels` in place of 3 if the
    backbone is for other images than RGB; logits are (B, classes, H, W); points are (B, N, 2) as
    (y, x) in pixels. If the images are crops of larger images, the crop boxes `boxes` (B, 4) give the (top, left,
    height, width) of the larger images in pixels of the crops, see `hypercolumns.coordinates`. Without `boxes`, the
    images are not crops.

    >>> import tempfile, torch
    >>> from hypercolumns import Backbone, HypercolumnExtractor, MLPClassifier, Segmenter
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
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     segmenter.save(f"{folder}/model.safetensors")
    ...     Segmenter.load(folder).classes
    ('ground', 'cat', 'dog')

    Args:
        extractor: computes the hypercolumns. If it resizes the images for the backbone, the logits and labels are still
            those of the pixels before resizing.
        classifier: classifies hypercolumns of length `extractor.backbone.channels`.
        classes: the names of the classes, in the order of the classifier's outputs.
        palette: the colours of the classes, in the same order; None: the colours of Pascal VOC.
        decoding: the rules by which image files become the images above. The segmenter itself does not apply them.
        scheme: the rule by which true masks become class indices, which has the same classes and palette; None: the
            values of masks are class indices, and their colours are those of the classes. The segmenter itself does not
            apply it.
        second_pass: classifies each pixel again, from the class probabilities around it; None: one pass.

    Attributes:
        backbone: the extractor's backbone.
        classifier: the pixel classifier.
        classes: the names of the classes, in the order of the classifier's outputs.
        palette: the colours of the classes, in the same order.
        decoding: the rules by which image files become the images above.
        scheme: the rule by which true masks become class indices.
        second_pass: classifies each pixel again; None: one pass. Such a model takes whole images only, no crops, and
            its logits have no gradients.

    Raises:
        HypercolumnsError: if there are more than 255 classes, if `scheme` or `second_pass` has others, or if `decoding`
            gives images with another number of channels than the backbone takes.
    """

    def __init__(
        self,
        extractor: HypercolumnExtractor,
        classifier: Classifier,
        classes: Sequence[str],
        palette: Palette | None = None,
        decoding: ImageDecoding = AS_STORED,
        scheme: LabelScheme | None = None,
        second_pass: SecondPass | None = None,
    ) -> None:
        super().__init__()
        self.backbone = extractor.backbone
        self.classifier = classifier
        self.second_pass = second_pass
        # The tuple hides the extractor from nn.Module. Otherwise, the state dict would contain the backbone twice.
        self._extractor = (extractor,)
        if len(classes) > IGNORE_INDEX:
            raise HypercolumnsError(
                f"{len(classes)} classes are more than a mask can hold; use at most {IGNORE_INDEX} classes"
            )
        if second_pass is not None and second_pass.classes != len(classes):
            raise HypercolumnsError(
                f"the second pass has {second_pass.classes} classes, but the model has {len(classes)}; pass one that "
                f"was trained for these classes"
            )
        self.classes = tuple(classes)
        self.palette = tuple(palette or voc_palette(len(self.classes)))
        self.decoding = decoding
        self.override_decoding(decoding)
        self.scheme = scheme or LabelScheme.of(self.classes, self.palette)
        if (self.scheme.classes, self.scheme.palette) != (self.classes, self.palette):
            raise HypercolumnsError(
                "the scheme of masks has other classes or colours than the model; pass those of the scheme"
            )

    @property
    def extractor(self) -> HypercolumnExtractor:
        """The hypercolumn extractor. It is not a submodule, so that the state dict contains the backbone only once."""
        return self._extractor[0]

    def override_decoding(self, decoding: ImageDecoding) -> ImageDecoding:
        """Return the rules for reading images, with the rules of `decoding` wherever it has one that is not None.

        Raises:
            HypercolumnsError: if these rules give images with another number of channels than the backbone takes.
        """
        rules, expected = self.decoding.override(decoding), self.backbone.input_channels
        if rules.image_channels != expected:
            raise HypercolumnsError(
                f"{rules.prefix}channels={shown(rules.channels)} gives images of {rules.image_channels} channels, but "
                f"this model takes images of {expected}; list {expected} channels, in the order in which the model was "
                f"trained on them, such as {rules.prefix}channels={shown(range(expected))}"
            )
        return rules

    def forward(self, images: Tensor, boxes: Tensor | None = None) -> Tensor:
        """Compute the logits (B, classes, H, W) of all pixels of the images."""
        # Tiles are classified again in the backward pass, but what they share, the surroundings, is computed once.
        with torch.set_grad_enabled(torch.is_grad_enabled() and self.second_pass is None):
            view, size, classifier = self._prepare(images, boxes)
            return classify_pixels(view, size, classifier, classifier.head, boxes).permute(0, 3, 1, 2)

    def visit_logits(self, images: Tensor, visit: VisitPixels) -> None:
        """Compute the logits of all pixels, and hold those of a few pixels at a time, without gradients.

        Args:
            images: (B, 3, H, W).
            visit: called with the rows, the columns and the logits (B, h, w, classes) of one part after the other.
        """
        with torch.no_grad():
            view, size, classifier = self._prepare(images)
            visit_pixels(view, size, classifier, classifier.head, visit)

    def logits_at(self, images: Tensor, points: Tensor, boxes: Tensor | None = None) -> Tensor:
        """Compute the logits at points, which may lie between pixels.

        Args:
            images: (B, 3, H, W), uint8 or float in [0, 1].
            points: (B, N, 2) as (y, x), in pixels of `images`.
            boxes: (B, 4), the crop boxes (top, left, height, width), in pixels of `images`; None: the images are not
                crops.

        Returns:
            (B, N, classes).
        """
        where = normalised_coordinates(
            points[..., 0], points[..., 1], full_image_box(images.shape[-2:]) if boxes is None else boxes
        )
        if self.second_pass is not None:
            self._refuse_crops(boxes)
            with torch.no_grad():  # as in `forward`
                return self.second_pass(features_at(self.extractor, self.classifier, images, points), where)  # type: ignore[no-any-return]
        logits: Tensor = self.classifier(self.extractor.at(images, points, boxes), where)
        return logits

    def predict_logits_at(self, images: Tensor, points: Tensor, boxes: Tensor | None = None) -> Tensor:
        """Compute the logits at points, which may lie between pixels, in evaluation mode and without gradients.

        Args:
            images: (B, 3, H, W), uint8 or float in [0, 1], on any device.
            points: (B, N, 2) as (y, x), in pixels of `images`.
            boxes: (B, 4), the crop boxes (top, left, height, width), in pixels of `images`; None: the images are not
                crops.

        Returns:
            (B, N, classes) float32, on the CPU.
        """
        with self.predicting():
            logits = self.logits_at(images.to(self.backbone.device), points, boxes)
        return logits.float().cpu()

    def labels(
        self, images: Tensor, adaptive: AdaptiveSettings | None = None, tta: TestTimeAugmentation = NO_TTA
    ) -> Tensor:
        """Predict the class of every pixel, without gradients.

        Args:
            images: (B, 3, H, W).
            adaptive: the settings of adaptive prediction, which is faster and approximate; None: classify every pixel.
            tta: the views of the images over which class probabilities are averaged. The default is a single view, the
                unchanged images.

        Returns:
            (B, H, W) uint8, class indices.

        Raises:
            HypercolumnsError: if both `adaptive` and `tta` are given.
        """
        with torch.no_grad():
            if tta != NO_TTA and adaptive is not None:
                raise HypercolumnsError(
                    "adaptive can't be combined with tta, because adaptive prediction classifies a single view; leave "
                    "out one of the two"
                )
            if tta != NO_TTA:
                return self._view_average.labels(images, tta)
            if adaptive is not None and self.second_pass is not None and len(images) > 1:
                return torch.cat([self.labels(image[None], adaptive) for image in images])  # each has its surroundings
            view, size, classifier = self._prepare(images)
            if adaptive is not None:
                return label_adaptively(view, size, classifier, adaptive)

            def label(hidden: Tensor, where: PixelCoordinates) -> Tensor:
                return classifier.head(hidden, where).argmax(-1, keepdim=True).to(torch.uint8)

            return classify_pixels(view, size, classifier, label)[..., 0]

    def predict_pixels(
        self,
        images: Tensor,
        tta: TestTimeAugmentation = NO_TTA,
        probabilities: bool = False,
        store: VisitPixels | None = None,
    ) -> PixelPrediction:
        """Predict the class of every pixel, and compute the confidence and the entropy, without gradients.

        Args:
            images: (B, 3, H, W).
            tta: the views of the images over which class probabilities are averaged. The default is a single view, the
                unchanged images.
            probabilities: whether the result contains the probabilities of all classes.
            store: called with the rows, the columns and the probabilities (B, h, w, classes) float16 of one part of the
                images after the other, so that the probabilities need not be held in memory; None: no call.

        Returns:
            The prediction. The labels are uint8. The confidence, the entropy and, if requested, the probabilities are
            float16.
        """
        collected = CollectedPrediction(images, len(self.classes) if probabilities else None, store)
        with torch.no_grad():
            self._view_average.visit(images, tta, collected.add)
        return collected.prediction

    def class_probabilities(self, images: Tensor, tta: TestTimeAugmentation = NO_TTA) -> Tensor:
        """Compute the class probabilities of every pixel, averaged over the views of `tta`, without gradients.

        Args:
            images: (B, 3, H, W).
            tta: the views of the images; the default is a single view, the unchanged images.

        Returns:
            (B, classes, H, W) float32; the values of each pixel sum to 1.
        """
        with torch.no_grad():
            _, _, probabilities = next(self._view_average.parts(images, tta, in_parts=False))
            return probabilities.permute(0, 3, 1, 2)

    def _prepare(self, images: Tensor, boxes: Tensor | None = None) -> tuple[ImageView, ImageSize, PixelHead]:
        """Return the images with what all their windows have in common, their size, and what classifies their pixels.

        Raises:
            HypercolumnsError: if the images are crops and the model has a second pass.
        """
        self._refuse_crops(boxes)
        size = images.shape[-2], images.shape[-1]
        view = self.extractor.view(images, boxes)
        view, classifier = with_surroundings(view, size, self.classifier, self.second_pass)
        return view, size, classifier

    def _refuse_crops(self, boxes: Tensor | None) -> None:
        if boxes is not None and self.second_pass is not None:
            raise HypercolumnsError(
                "a model with a second pass takes whole images, because it classifies by the surroundings; leave out "
                "boxes, or use the model that stage refine was given"
            )

    @property
    def _view_average(self) -> ViewAverage:
        return ViewAverage(self.extractor, self.classifier, len(self.classes), self.second_pass)

    @contextmanager
    def predicting(self) -> Iterator[None]:
        """Put the model into evaluation mode and turn off gradients inside a `with` block.

        At the end of the block, the model returns to its previous mode.
        """
        mode = self.training
        self.eval()
        try:
            with torch.inference_mode():
                yield
        finally:
            self.train(mode)

    def save(self, path: str | Path) -> None:
        """Write the model to one self-contained safetensors file: its weights, and its architecture in a JSON header.

        The file appears at `path` only when it is complete.
        """
        model_file.write_model(Path(path), self.header(), self.tensors())

    @classmethod
    def load(cls, path: str | Path) -> "Segmenter":
        """Load a model without executing anything from the file, and without downloading anything.

        Args:
            path: a file that `save` wrote, a folder that contains a `model.safetensors`, or a checkpoint of a run.

        Returns:
            The model, in evaluation mode on the CPU.

        Raises:
            ArgumentError: if the file is missing, is damaged or holds no model; the message begins with the path.
        """
        return model_file.load_model(Path(path), cls)

    def tensors(self) -> dict[str, Tensor]:
        """Return the tensors of the state dict by name: detached, contiguous and on the CPU."""
        return {name: tensor.detach().cpu().contiguous() for name, tensor in self.state_dict().items()}

    def header(self) -> model_file.Header:
        """Describe the model's architecture as the header of a model file; see `model_file.make_header`."""
        return model_file.make_header(
            self.backbone,
            self.extractor.settings(),
            self.classifier,
            self.classes,
            self.palette,
            self.decoding,
            self.scheme.mask_rules(),
            self.second_pass,
        )
