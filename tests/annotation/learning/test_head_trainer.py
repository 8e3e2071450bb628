"""The training of the classifier on labelled and on guessed pixels."""

import math

import pytest
import torch

from hypercolumns.annotation.learning import head_trainer
from hypercolumns.annotation.learning.head_trainer import HeadTrainer, class_balance, label_smoothing, only_seen
from hypercolumns.annotation.learning.labelled_pixels import LabelledPixels
from hypercolumns.annotation.learning.views import NOWHERE, decide_margin
from hypercolumns.models.classifiers import MLPClassifier


def make_trainer(classes=(0, 2), dropout=0.0):
    """Make a trainer with a cluster of 40 pixels for each class: class c lies at c - 1 along the first axis."""
    torch.manual_seed(0)
    pixels = LabelledPixels(3, 1000, seed=0)
    for label in classes:
        pixels.add(0, torch.arange(40) + 100 * label, label, cluster(label - 1.0, 40))
    return HeadTrainer(MLPClassifier(3, 4, 8, dropout), pixels, seed=0)


def cluster(centre, count):
    generator = torch.Generator().manual_seed(7)
    return torch.randn(count, 3, generator=generator) * 0.1 + torch.tensor([centre, 0, 0])


def nothing():
    raise AssertionError("no guess is due")


def test_training_converges_after_its_rounds(monkeypatch):
    monkeypatch.setattr(head_trainer, "ROUND", 20)
    monkeypatch.setattr(head_trainer, "ROUNDS", 3)
    trainer = make_trainer()
    assert math.isnan(trainer.state.loss)
    first = trainer.train(20, nothing)
    assert (first.steps, first.converged) == (20, False)
    state = trainer.train(40, lambda: cluster(0.0, 5))
    assert (state.steps, state.converged) == (60, True)
    assert state.loss < first.loss
    trainer.labels_changed()
    assert not trainer.state.converged


def test_guesses_reach_pixels_without_labels(monkeypatch):
    """Sure guesses of a cluster near class 2 make the classifier surer of it."""
    monkeypatch.setattr(head_trainer, "ROUND", 50)
    monkeypatch.setattr(head_trainer, "RATE", 1e-2)
    others = cluster(0.35, 200)
    margins = []
    for pool in (lambda: others[:0], lambda: others):
        trainer = make_trainer()
        trainer.train(150, pool)
        margins.append(decide_margin(trainer.predictor()(others, NOWHERE))[:, 1].mean())
    assert margins[1] > margins[0] + 0.05


def test_dropout_is_off_in_predictions():
    trainer = make_trainer(dropout=0.5)
    trainer.train(5, nothing)
    points = cluster(0.0, 9)
    assert torch.equal(trainer.predictor()(points, NOWHERE), trainer.predictor()(points, NOWHERE))


def test_no_labels_mean_no_steps():
    trainer = HeadTrainer(MLPClassifier(3, 4, 8), LabelledPixels(3, 10, seed=0), seed=0)
    assert trainer.train(10, nothing)[::2] == (0, True)


def test_seen_classes_keep_their_probabilities():
    torch.manual_seed(0)
    classifier, seen = MLPClassifier(3, 4, 8), torch.tensor([0, 2])
    points = torch.randn(50, 3) * 100
    logits = only_seen(classifier, seen)(points, NOWHERE)
    expected = classifier(points, NOWHERE)[:, seen].softmax(1)
    torch.testing.assert_close(logits[:, seen].softmax(1), expected)
    assert (logits.max(1).values >= 0).all()
    assert (logits[:, [1, 3]] == head_trainer.UNSEEN).all()


@pytest.mark.parametrize(("targets", "weights"), [([0, 0, 0, 0, 1], [0.5, 0.5, 0.5, 0.5, 1])])
def test_rare_classes_weigh_more(targets, weights):
    assert class_balance(torch.tensor(targets)).tolist() == weights


def test_smoothing_falls_with_labelled_things():
    """Eight (image, class) pairs are smoothed half as much as one pair, whatever their numbers of pixels."""
    assert label_smoothing(torch.tensor([3, 3]), torch.tensor([1, 1])) == head_trainer.SMOOTHING
    pairs = [(image, target) for image in range(5, 9) for target in range(2) for _ in range(image)]
    images, targets = torch.tensor(pairs).T
    assert len(set(pairs)) == 8
    assert math.isclose(label_smoothing(images, targets), head_trainer.SMOOTHING / 2)


def test_clear_labels_get_the_smoothed_certainty(monkeypatch):
    """Where classes are easily told apart, the probability is the one at which smooth labels have the lowest loss."""
    monkeypatch.setattr(head_trainer, "RATE", 2e-2)
    trainer = make_trainer()
    trainer.train(60, nothing)
    sure = trainer.predictor()(trainer.pixels.hypercolumns.float(), NOWHERE)[:, [0, 2]].softmax(1).max(1).values
    share = head_trainer.SMOOTHING * 2 ** (-1 / 3)  # of two classes in one image; each class gets a half of it
    assert math.isclose(float(sure.mean()), 1 - share / 2, abs_tol=0.02)


def test_rounds_pass_over_many_labels(monkeypatch):
    """A round of 80 labels in batches of 4 takes at least 40 steps, which are two passes."""
    monkeypatch.setattr(head_trainer, "BATCH", 4)
    trainer = make_trainer()
    calls = []
    monkeypatch.setattr(head_trainer, "ROUND", 10)
    while not trainer.train(1, lambda: calls.append(trainer.steps) or cluster(0.0, 5)).converged:
        pass
    assert trainer.steps == 5 * 40
    assert calls == [40, 80, 120, 160]
