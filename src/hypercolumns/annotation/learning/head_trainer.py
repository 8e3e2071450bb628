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
ROUND = 300  # steps, after which the labels of other pixels are guessed again
ROUNDS = 3  # after a change of the labels, until the training has converged; the first learns from labels only
SURE = 0.8  # probability from which a guess is taken for a label
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

    A training has rounds. The learning rate falls to 0 in each of them. A change of the labels starts the first round
    again. From the second round on, the classifier also learns from its own sure predictions of pixels without labels,
    which spreads what it knows over all images (self-training, as by Lee, 2013, "Pseudo-Label"). Only the classes that
    have labels take part in the loss.

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
        return TrainingState(self.steps, self._loss, self._unchanged >= ROUNDS * ROUND or not self.pixels.count)

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
        losses = []
        self.classifier.train()
        for _ in range(steps):
            if self._unchanged and self._unchanged % ROUND == 0:
                self._guesses = self._guess(others(), seen)
            losses.append(self._step(seen, targets, weights))
        self.classifier.eval()
        self._loss = float(torch.stack(losses).mean())
        return self.state

    def _step(self, seen: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
        """Take one step, and return its loss.

        Args:
            seen: (C,), the classes with labels.
            targets: (n,), the labels of the pixels, as indices of `seen`.
            weights: (n,), how likely each pixel is to be chosen.
        """
        for group in self._optimizer.param_groups:
            group["lr"] = RATE * (0.01 + math.cos(math.pi / 2 * (self._unchanged % ROUND) / ROUND) ** 2)
        with randomness.seeded(self.seed, "step", self.steps):
            chosen = torch.multinomial(weights, BATCH, replacement=True)
            hypercolumns, labels = self.pixels.hypercolumns[chosen], targets[chosen]
            if self._guesses is not None and len(self._guesses[1]):
                guessed = torch.multinomial(class_balance(self._guesses[1]), GUESSED, replacement=True)
                hypercolumns = torch.cat([hypercolumns, self._guesses[0][guessed]])
                labels = torch.cat([labels, self._guesses[1][guessed]])
            loss = F.cross_entropy(self.classifier(hypercolumns.float(), NOWHERE)[:, seen], labels)
        self._optimizer.zero_grad()
        loss.backward()
        self._optimizer.step()
        self.steps += 1
        self._unchanged += 1
        return loss.detach()

    def _guess(self, hypercolumns: Tensor, seen: Tensor) -> tuple[Tensor, Tensor]:
        """Return the hypercolumns (n, D) that the classifier is sure of, and their classes (n,), indices of `seen`."""
        self.classifier.eval()
        with torch.no_grad():
            sure, classes = self.classifier(hypercolumns.float(), NOWHERE)[:, seen].softmax(1).max(1)
        self.classifier.train()
        return hypercolumns[sure > SURE], classes[sure > SURE]


def class_balance(targets: Tensor) -> Tensor:
    """Return a weight (n,) for each of the targets (n,): the inverse square root of the number of its class."""
    counts = targets.bincount().clamp(min=1)
    return counts.float().rsqrt()[targets]


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
