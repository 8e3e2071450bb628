"""Train the classifier on the labelled pixels, some steps at a time."""

import copy
import math
from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from hypercolumns.annotation.learning.labelled_pixels import LabelledPixels
from hypercolumns.annotation.learning.views import NOWHERE
from hypercolumns.models.classifiers import MLPClassifier
from hypercolumns.runtime import randomness

BATCH = 512  # labelled pixels of a step
GUESSED = 256  # pixels of a step with a guessed label
RATE, DECAY = 2e-3, 1e-2  # of AdamW
ROUND = 60  # steps of a round at least, after which the labels of other pixels are guessed again
PASSES = 2  # over the labelled pixels in a round at least
ROUNDS = 5  # after a change of the labels, until the training has converged; the first learns from labels only
SURE = 0.8  # probability from which a guess is taken for a label, relative to the highest that smooth labels teach
SMOOTHING = 0.3  # of the label of a single class in a single image, see `label_smoothing`
UNSEEN = -15.0  # logit of a class without labels; the logits of the others have the mean 0


class TrainingState(NamedTuple):
    """How far the training has come.

    Attributes:
        steps: the number of steps since the start.
        loss: the mean loss of the steps that were just taken; NaN before the first.
        converged: whether further steps would change little, because the labels have not changed for many steps.
    """

    steps: int
    loss: float
    converged: bool


class HeadTrainer:
    """Train a classifier on labelled pixels, going on from the weights that it has.

    A training has rounds, longer ones if there are many labels. The learning rate falls to 0 in each of them. A change
    of the labels starts the first round again. From the second round on, the classifier also learns from its own sure
    predictions of pixels without labels, which spreads what it knows over all images (self-training, as by Lee, 2013,
    "Pseudo-Label"). Only the classes that have labels take part in the loss.

    Args:
        classifier: the classifier to train.
        pixels: the labelled pixels.
        seed: the seed of the random batches and of dropout.

    Attributes:
        steps: the number of steps since the start.
    """

    def __init__(self, classifier: MLPClassifier, pixels: LabelledPixels, seed: int) -> None:
        self.classifier, self.pixels, self.seed = classifier, pixels, seed
        self.steps = self._unchanged = 0
        self._loss = math.nan
        self._guesses: tuple[Tensor, Tensor] | None = None  # hypercolumns (n, D), and indices (n,) of seen classes
        self._optimizer = torch.optim.AdamW(classifier.parameters(), lr=RATE, weight_decay=DECAY, fused=True)

    @property
    def state(self) -> TrainingState:
        """How far the training has come."""
        converged = self._unchanged >= ROUNDS * self._round or not self.pixels.count
        return TrainingState(self.steps, self._loss, converged)

    @property
    def _round(self) -> int:
        """The number of steps of a round."""
        return max(ROUND, PASSES * self.pixels.count // BATCH)

    def labels_changed(self) -> None:
        """Begin the first round again."""
        self._unchanged, self._guesses = 0, None

    def predictor(self) -> MLPClassifier:
        """Return a copy of the classifier that never predicts a class without labels, see `only_seen`."""
        return only_seen(self.classifier, self.pixels.labels.unique())

    def train(self, steps: int, others: Callable[[], Tensor]) -> TrainingState:
        """Take some steps, unless there are no labels; return how far the training has come.

        Args:
            steps: the number of steps.
            others: returns reduced hypercolumns (n, D) of pixels of all images, most of them without a label.

        Returns:
            How far the training has come.
        """
        if not self.pixels.count or steps < 1:
            return self.state
        seen = self.pixels.labels.unique()
        targets = torch.searchsorted(seen, self.pixels.labels)
        weights = class_balance(targets)
        smoothing = label_smoothing(self.pixels.images, targets)
        losses = []
        self.classifier.train()
        for _ in range(steps):
            if self._unchanged and self._unchanged % self._round == 0:
                self._guesses = self._guess(others(), seen, smoothing)
            losses.append(self._step(seen, targets, weights, smoothing))
        self.classifier.eval()
        self._loss = float(torch.stack(losses).mean())
        return self.state

    def _step(self, seen: Tensor, targets: Tensor, weights: Tensor, smoothing: float) -> Tensor:
        """Take one step.

        Args:
            seen: (C,), the classes with labels.
            targets: (n,), the labels of the pixels, as indices of `seen`.
            weights: (n,), how likely each pixel is to be chosen.
            smoothing: the share of each label that is spread over all seen classes.

        Returns:
            The loss.
        """
        done = self._unchanged % self._round / self._round  # share of the round
        for group in self._optimizer.param_groups:
            group["lr"] = RATE * (0.01 + math.cos(math.pi / 2 * done) ** 2)
        with randomness.seeded(self.seed, "step", self.steps):
            chosen = torch.multinomial(weights, BATCH, replacement=True)
            hypercolumns, labels = self.pixels.hypercolumns[chosen], targets[chosen]
            if self._guesses is not None and len(self._guesses[1]):
                guessed = torch.multinomial(class_balance(self._guesses[1]), GUESSED, replacement=True)
                hypercolumns = torch.cat([hypercolumns, self._guesses[0][guessed]])
                labels = torch.cat([labels, self._guesses[1][guessed]])
            logits = self.classifier(hypercolumns.float(), NOWHERE)[:, seen]
            loss = F.cross_entropy(logits, labels, label_smoothing=smoothing)
        self._optimizer.zero_grad()
        loss.backward()
        self._optimizer.step()
        self.steps += 1
        self._unchanged += 1
        return loss.detach()

    def _guess(self, hypercolumns: Tensor, seen: Tensor, smoothing: float) -> tuple[Tensor, Tensor]:
        """Return the hypercolumns (n, D) that the classifier is sure of, and their classes (n,), indices of `seen`."""
        threshold = SURE * (1 - smoothing)
        self.classifier.eval()
        with torch.no_grad():
            sure, classes = self.classifier(hypercolumns.float(), NOWHERE)[:, seen].softmax(1).max(1)
        self.classifier.train()
        return hypercolumns[sure > threshold], classes[sure > threshold]


def class_balance(targets: Tensor) -> Tensor:
    """Return a weight (n,) for each of the targets (n,): the inverse square root of the number of its class."""
    counts = targets.bincount().clamp(min=1)
    return counts.float().rsqrt()[targets]


def label_smoothing(images: Tensor, targets: Tensor) -> float:
    """Return the share of each label that is spread over all seen classes, so that the classifier is as sure as right.

    A classifier fits few labels with certainty, and is then as certain of all other pixels. The share that is needed
    against it falls with the number of different things that are labelled. It was fitted to left-out train images of
    CamVid, after 20, 50 and 137 strokes.

    Args:
        images: (n,), the image of each labelled pixel, as a number.
        targets: (n,), the label of each pixel, as an index of the seen classes.

    Returns:
        `SMOOTHING`, divided by the cube root of the number of (image, class) pairs.
    """
    classes = int(targets.max()) + 1
    groups = (images * classes + targets).bincount().count_nonzero()
    return SMOOTHING / math.cbrt(float(groups))


def only_seen(classifier: MLPClassifier, seen: Tensor) -> MLPClassifier:
    """Copy a classifier so that it never predicts a class without labels.

    The mean of the logits of the other classes is subtracted from each of them, which changes no probability. One of
    them is then at least 0, above the constant logit of the classes without labels.

    Args:
        classifier: the classifier.
        seen: (n,) int64, the classes with labels.

    Returns:
        A copy, whose logits of other classes are constant.
    """
    copied = copy.deepcopy(classifier).eval().requires_grad_(False)
    last = copied.get_submodule(copied.output_layer)
    for values, unseen in ((last.weight, 0.0), (last.bias, UNSEEN)):
        assert isinstance(values, Tensor)
        centred = values[seen] - values[seen].mean(0)
        values.fill_(unseen)
        values[seen] = centred
    return copied
