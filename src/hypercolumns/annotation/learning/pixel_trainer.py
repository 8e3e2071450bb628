"""Train a pixel classifier on a few labels, again and again while labels are added."""

import hashlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import torch
from numpy.typing import ArrayLike
from torch import Tensor

from hypercolumns.annotation.learning.head_trainer import HeadTrainer, TrainingState
from hypercolumns.annotation.learning.labelled_pixels import LabelledPixels
from hypercolumns.annotation.learning.map_cache import MapCache
from hypercolumns.annotation.learning.reduction import COMPONENTS, Reduction
from hypercolumns.annotation.learning.suggestions import (
    Readiness,
    Region,
    grid_lines,
    least_sure_region,
    mean_over_classes,
    suggestion_grid,
)
from hypercolumns.annotation.learning.views import NOWHERE, SCREEN, View, decide_margin, empty_view, view_grid
from hypercolumns.annotation.learning.whole_maps import compute_maps
from hypercolumns.coordinates import ImageSize
from hypercolumns.errors import ArgumentError, HypercolumnsError, check_int
from hypercolumns.io.decoding import AS_STORED, ImageDecoding
from hypercolumns.labels import IGNORE_INDEX, LabelScheme, Palette
from hypercolumns.models.alignment import at
from hypercolumns.models.classifiers import Classifier, MLPClassifier
from hypercolumns.models.extractor import HypercolumnExtractor
from hypercolumns.models.predictor import ImageLike, Prediction, SegmentationPredictor, as_tensor
from hypercolumns.models.segmenter import Segmenter
from hypercolumns.runtime import randomness

COARSE = 12  # rows and columns of the grid that tells how sure the model is of an image
TRAIN_STEPS = 50  # between two looks at whether the training has converged
MAX_SAMPLES = 65536
MAX_POOL = 200  # images whose coarse grids the training may guess the labels of
DROPOUT = 0.5
MAP_MEMORY = 2 << 30  # bytes


class KnownImage(NamedTuple):
    """An image whose maps are kept.

    Attributes:
        number: the number of the image, in the order of preparation.
        size: (height, width), in pixels.
        coarse: (n, D) float16, the reduced hypercolumns of a coarse grid of pixels.
    """

    number: int
    size: ImageSize
    coarse: Tensor


class PixelTrainer:
    """Train a pixel classifier on sparsely labelled images, interactively.

    The maps of an image are computed once and kept. A label adds pixels to a bounded sample, on which the classifier
    goes on learning from the weights that it has. Classes without labels are never predicted.

    In a notebook, `fit`, `partial_fit` and `predict` are enough. A program in which a user paints calls `prepare` for
    each image, `label` for each stroke, then `train` with a few steps and `view` for the pixels on the screen, and goes
    on with `train` and `view` until the training has converged. No two threads may call methods at the same time.

    >>> import numpy as np
    >>> from hypercolumns import Backbone, HypercolumnExtractor, PixelTrainer
    >>> image = np.zeros((30, 44, 3), np.uint8)
    >>> image[:, 22:] = 200
    >>> mask = np.full((30, 44), 255, np.uint8)  # 255: not labelled
    >>> mask[10:13, 5:15], mask[10:13, 30:40] = 0, 1
    >>> trainer = PixelTrainer(HypercolumnExtractor(Backbone("rgb", ["image"])), ["dark", "bright"])
    >>> trainer.fit([image], [mask]).predict(image).labels[0, [0, 43]].tolist()
    [0, 1]
    >>> trainer.segmenter.classes  # and trainer.segmenter.save("model.safetensors")
    ('dark', 'bright')

    Args:
        extractor: computes the hypercolumns; its backbone stays as it is.
        classes: the names of the classes.
        palette: the colours of the classes; None: the colours of Pascal VOC.
        hidden: the width of the classifier's hidden layer.
        max_samples: the number of labelled pixels to learn from at most; of more, a random part is balanced over
            classes and images.
        map_memory: the bytes of maps to keep in memory; further maps are kept on disk.
        map_folder: the folder for these maps; None: in the system's folder for temporary files.
        decoding: the rules by which image files become the images that the model sees.
        scheme: the rule by which true masks become class indices, see `Segmenter`.
        seed: the seed of the weights and of all random choices.

    Raises:
        HypercolumnsError: if an argument is invalid.
    """

    def __init__(
        self,
        extractor: HypercolumnExtractor,
        classes: list[str] | tuple[str, ...],
        palette: Palette | None = None,
        *,
        hidden: int = 128,
        max_samples: int = MAX_SAMPLES,
        map_memory: int = MAP_MEMORY,
        map_folder: Path | None = None,
        decoding: ImageDecoding = AS_STORED,
        scheme: LabelScheme | None = None,
        seed: int = 0,
    ) -> None:
        check_int("max_samples", max_samples, minimum=1)
        check_int("map_memory", map_memory, minimum=0)
        self.extractor, self.decoding, self.hidden, self.seed = extractor, decoding, hidden, seed
        self.classes, self.palette, self.scheme, self.max_samples = tuple(classes), palette, scheme, max_samples
        self._images: dict[str, KnownImage] = {}
        self._maps = MapCache(map_memory, map_folder)
        self._reduction: Reduction | None = None  # of the first image that is prepared
        self._learner = self._new_learner(1)  # an idle one, until the length of a reduced hypercolumn is known
        untrained = MLPClassifier(extractor.backbone.channels, len(classes), hidden)
        self._segmenter(untrained)  # checks the arguments

    def _new_learner(self, channels: int) -> HeadTrainer:
        """Return the trainer of a new classifier of reduced hypercolumns of this length, without labels."""
        with randomness.seeded(self.seed, "classifier"):
            classifier = MLPClassifier(channels, len(self.classes), self.hidden, DROPOUT)
        return HeadTrainer(classifier, LabelledPixels(channels, self.max_samples, self.seed), self.seed)

    def fit(self, images: Iterable[ImageLike], masks: Iterable[ArrayLike]) -> "PixelTrainer":
        """Forget all images and labels, and learn from these.

        Args:
            images: the images, each as `SegmentationPredictor.predict` takes it.
            masks: the mask (H, W) of each image, with class indices, and 255 for pixels without a label.

        Returns:
            This trainer.
        """
        for key in self._images:
            self._maps.forget(key)
        self._images, self._reduction, self._learner = {}, None, self._new_learner(1)
        return self.partial_fit(images, masks)

    def partial_fit(self, images: Iterable[ImageLike], masks: Iterable[ArrayLike]) -> "PixelTrainer":
        """Learn from further images, or from other labels of images that are known.

        Args:
            images: see `fit`. An image is known if one with the same pixels was given before.
            masks: see `fit`. They replace the labels of images that are known.

        Returns:
            This trainer.
        """
        for image, mask in zip(images, masks, strict=True):
            pixels = as_tensor(image, self.decoding)
            key = _digest(pixels)
            self.prepare(key, pixels)
            self.label_mask(key, torch.as_tensor(mask))
            self._learner.labels_changed()  # also without labels, as the pixels of this image are learned from too
        while not self.train(TRAIN_STEPS).converged:
            pass
        return self

    def predict(self, image: ImageLike) -> Prediction:
        """Predict the class of every pixel of an image, see `SegmentationPredictor.predict`."""
        return SegmentationPredictor(self.segmenter).predict(image)

    @property
    def segmenter(self) -> Segmenter:
        """The model as it is now. It is a copy, which further training does not change.

        Raises:
            HypercolumnsError: if nothing is labelled.
        """
        if self.readiness is not Readiness.READY or self._reduction is None:
            raise HypercolumnsError(
                "no pixel is labelled yet, or no step was trained, so there is no model; label some pixels, and train"
            )
        complete = self._reduction.expand(self._learner.predictor(), len(self.classes))
        return self._segmenter(complete).eval()

    def _segmenter(self, classifier: Classifier) -> Segmenter:
        return Segmenter(self.extractor, classifier, self.classes, self.palette, self.decoding, self.scheme)

    @property
    def readiness(self) -> Readiness:
        """Whether there is a model that can say where a label would teach most, and why not."""
        if not self._learner.pixels.count:
            return Readiness.NO_LABELS
        return Readiness.READY if self._learner.steps else Readiness.UNTRAINED

    def prepare(self, key: str, image: Tensor) -> None:
        """Compute the maps of an image, and keep them.

        Args:
            key: the name by which the other methods know the image.
            image: (3, H, W), uint8 or float in [0, 1].
        """
        for _ in self.prepare_in_parts(key, image):
            pass

    def prepare_in_parts(self, key: str, image: Tensor) -> Iterator[None]:
        """Compute the maps of an image as `prepare` does, and pause after each part of a large image.

        In the pauses, the trainer can be used for all else. The image is known when the iterator ends.

        Args:
            key: the name by which the other methods know the image.
            image: (3, H, W), uint8 or float in [0, 1].

        Yields:
            None after each part.
        """
        if key in self._images:
            return
        given = self._reduction
        parts, size = compute_maps(self.extractor, image, COMPONENTS, given), (image.shape[1], image.shape[2])
        while True:
            with torch.inference_mode():  # ends with each part, as it would hold for what is done in a pause
                try:
                    next(parts)
                except StopIteration as end:
                    maps, reduction = end.value
                    points = torch.cartesian_prod(*(grid_lines(length, COARSE) for length in size))
                    coarse = at(maps, points[None].double())[0]
                    break
            yield
        if self._reduction is not given:  # another image was the first one meanwhile
            yield from self.prepare_in_parts(key, image)
            return
        if self._reduction is None:
            self._reduction, self._learner = reduction, self._new_learner(reduction.channels)
        self._maps.put(key, maps)
        self._images[key] = KnownImage(len(self._images), size, coarse)

    def label(self, key: str, rows: Tensor, columns: Tensor, value: int) -> None:
        """Label pixels of a prepared image, in place of the labels that they have.

        Args:
            key: the name of the image.
            rows: (N,) int64, the rows of the pixels.
            columns: (N,) int64, their columns.
            value: the class index; 255 forgets the labels of these pixels.

        Raises:
            HypercolumnsError: if the image is not prepared, a pixel lies outside of it, or the class does not exist.
        """
        number, size, _ = self._known(key)
        if value != IGNORE_INDEX and not 0 <= value < len(self.classes):
            raise ArgumentError(f"value={value} must be a class index from 0 to {len(self.classes) - 1}, or 255")
        for name, line, length in zip(("rows", "columns"), (rows, columns), size, strict=True):
            if len(line) and not 0 <= int(line.min()) <= int(line.max()) < length:
                raise ArgumentError(f"{name} must be from 0 to {length - 1}, as the image {key} has {length} {name}")
        pixels = (rows * size[1] + columns).unique()
        self._learner.pixels.forget(number, pixels)
        if value != IGNORE_INDEX and len(pixels):
            pixels = self._learner.pixels.choose(pixels)
            points = torch.stack([pixels // size[1], pixels % size[1]], dim=1)
            with torch.inference_mode():
                hypercolumns = at(self._maps.get(key), points[None].double())[0]
            self._learner.pixels.add(number, pixels, value, hypercolumns)
        self._learner.labels_changed()

    def label_mask(self, key: str, mask: Tensor) -> None:
        """Replace all labels of a prepared image by those of a mask.

        Args:
            key: the name of the image.
            mask: (H, W), whole numbers: class indices, and 255 for pixels without a label.

        Raises:
            HypercolumnsError: if the image is not prepared, or the mask has another size, or other values.
        """
        number, size, _ = self._known(key)
        if tuple(mask.shape) != size or mask.is_floating_point():
            raise ArgumentError(
                f"masks must hold whole numbers, in the size of their images: (H, W) = {size}; a given mask has the "
                f"shape {(*mask.shape,)} and the type {str(mask.dtype).removeprefix('torch.')}"
            )
        if (self._learner.pixels.images == number).any():
            self._learner.pixels.forget(number)
            self._learner.labels_changed()
        for value in mask.unique().tolist():
            if value != IGNORE_INDEX:
                rows, columns = (mask == value).nonzero(as_tuple=True)
                self.label(key, rows, columns, value)

    def train(self, steps: int) -> TrainingState:
        """Take some training steps, from the weights of the last ones; return how far the training has come."""
        return self._learner.train(steps, self._pool)

    def _pool(self) -> Tensor:
        """Return the reduced hypercolumns of the coarse grids of all images, of some if there are many."""
        images = list(self._images.values())
        return torch.cat([image.coarse for image in images[:: -(-len(images) // MAX_POOL)]])

    def view(self, key: str, rows: Tensor, columns: Tensor) -> View:
        """Predict the pixels of a grid in a prepared image, by adaptive subdivision.

        Args:
            key: the name of the image.
            rows: (h,), rising: the rows of the grid. Evenly spaced ones are predicted faster.
            columns: (w,), rising: the columns of the grid.

        Returns:
            The labels and the margins of the h x w pixels.
        """
        self._known(key)
        if self.readiness is not Readiness.READY:
            return empty_view(rows, columns)
        with torch.inference_mode():
            return view_grid(self._maps.get(key), rows, columns, self._learner.predictor(), SCREEN)

    def mean_margin(self, key: str) -> float:
        """Return how sure the model is of a prepared image: the mean margin (see `View`) on a coarse grid.

        All predicted classes count alike, see `mean_over_classes`. Before the first label, the result is 0.
        """
        coarse = self._known(key).coarse
        if self.readiness is not Readiness.READY:
            return 0.0
        with torch.inference_mode():
            classes, margins = decide_margin(self._learner.predictor()(coarse.float(), NOWHERE)).unbind(1)
            return mean_over_classes(classes, margins)

    def suggest_region(self, key: str, labelled: Tensor | None = None) -> Region | None:
        """Return the connected region of one predicted class that the model is least sure of.

        Args:
            key: the name of the image.
            labelled: (H, W) bool, the pixels that are not to be suggested; None: those of the bounded sample.

        Returns:
            The region; None if the trainer is not ready (see `readiness`), or if no region has a useful size.
        """
        number, size, _ = self._known(key)
        if self.readiness is not Readiness.READY:
            return None
        if labelled is None:
            labelled = torch.zeros(size, dtype=torch.bool)
            labelled.view(-1)[self._learner.pixels.pixels[self._learner.pixels.images == number]] = True
        rows, columns = suggestion_grid(size)
        # A point of the grid is labelled if any pixel near it is, as a stroke is thinner than the grid.
        marked = torch.zeros(len(rows), len(columns), dtype=torch.bool)
        down, across = labelled.nonzero(as_tuple=True)
        marked[down * len(rows) // size[0], across * len(columns) // size[1]] = True
        return least_sure_region(self.view(key, rows, columns), rows, columns, marked, size)

    def _known(self, key: str) -> KnownImage:
        """Return a prepared image; raise ArgumentError if there is none of this name."""
        if key not in self._images:
            raise ArgumentError(f"key={key} is not the name of a prepared image; call prepare first")
        return self._images[key]


def _digest(pixels: Tensor) -> str:
    """Return a name for an image (3, H, W): the SHA-256 of its size and its pixels."""
    sha = hashlib.sha256(f"{pixels.dtype} {(*pixels.shape,)}".encode())
    sha.update(pixels.contiguous().numpy().data)
    return sha.hexdigest()
