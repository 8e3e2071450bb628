"""Train the classifier on the labelled pixels, some steps at a time."""

import copy
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from hypercolumns.annotation.labelled_pixels import LabelledPixels
from hypercolumns.annotation.views import NOWHERE
from hypercolumns.models.classifiers import MLPClassifier
from hypercolumns.runtime import randomness

BATCH = 512  # pixels
RATE, DECAY = 2e-3, 1e-2  # of AdamW
PATIENCE = 300  # steps after a change of the labels
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

    Only the classes that have labels take part in the loss.

    Args:
        classifier: the classifier to train.
        pixels: the labelled pixels.
        seed: the seed of the random batches.
    """

    def __init__(self, classifier: MLPClassifier, pixels: LabelledPixels, seed: int) -> None:
        self.classifier, self.pixels, self.seed = classifier, pixels, seed
        self.steps = self._unchanged = 0
        self.loss = float("nan")
        self.optimizer = torch.optim.AdamW(classifier.parameters(), lr=RATE, weight_decay=DECAY, fused=True)

    @property
    def state(self) -> TrainingState:
        """How far the training has come."""
        return TrainingState(self.steps, self.loss, self._unchanged >= PATIENCE or not self.pixels.count)

    def labels_changed(self) -> None:
        """Begin again to count the steps since the last change of the labels."""
        self._unchanged = 0

    def predictor(self) -> MLPClassifier:
        """Return a copy of the classifier that never predicts a class without labels, see `only_seen`."""
        return only_seen(self.classifier, self.pixels.labels.unique())

    def train(self, steps: int) -> TrainingState:
        """Take some steps, unless there are no labels; return how far the training has come."""
        if not self.pixels.count or steps < 1:
            return self.state
        seen = self.pixels.labels.unique()
        targets = torch.searchsorted(seen, self.pixels.labels)
        weights = class_balance(targets)
        losses = []
        for _ in range(steps):
            batch = self._batch(weights)
            logits = self.classifier(self.pixels.hypercolumns[batch].float(), NOWHERE)[:, seen]
            loss = F.cross_entropy(logits, targets[batch])
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
            losses.append(loss.detach())
            self.steps += 1
            self._unchanged += 1
        self.loss = float(torch.stack(losses).mean())
        return self.state

    def _batch(self, weights: Tensor) -> Tensor:
        """Choose the pixels of a step; each is as likely as its weight (n,) says."""
        generator = randomness.generator(self.seed, "batch", self.steps)
        return torch.multinomial(weights, BATCH, replacement=True, generator=generator)


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
