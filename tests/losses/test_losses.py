"""Losses against torch, against their papers by hand, and over several ranks."""

import math
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
import torch.nn.functional as F
from torch import distributed

from hypercolumns.errors import ArgumentError, HypercolumnsError
from hypercolumns.losses import (
    CrossEntropy,
    Dice,
    Lovasz,
    OHEMCrossEntropy,
    WeightedSum,
    balanced_weights,
    cross_entropy,
)

LOGITS = torch.tensor([[2.0, 0.0, -1.0], [0.0, 1.0, 0.0], [0.5, 0.5, 0.0], [1.0, 2.0, 3.0]])


def test_void_is_ignored():
    labels = torch.tensor([0, 255, 1, 255])
    expected = F.cross_entropy(LOGITS[[0, 2]], labels[[0, 2]])
    assert torch.allclose(cross_entropy(LOGITS, labels, None), expected)


def test_cross_entropy_of_void_is_zero():
    logits = LOGITS.clone().requires_grad_()
    loss = cross_entropy(logits, torch.full((4,), 255), "batch")
    loss.backward()
    assert loss == 0
    assert (logits.grad == 0).all()


def test_class_weights_agree_with_torch():
    labels, weights = torch.tensor([0, 1, 1, 255]), torch.tensor([3.0, 1.0, 0.0])
    expected = F.cross_entropy(LOGITS, labels, weights, ignore_index=255)
    assert torch.allclose(cross_entropy(LOGITS, labels, weights), expected)


def test_batch_weights_average_over_classes():
    labels = torch.tensor([0, 1, 1, 255])
    losses = F.cross_entropy(LOGITS, labels.where(labels != 255, 0), reduction="none")
    expected = (losses[0] + (losses[1] + losses[2]) / 2) / 2
    assert torch.allclose(cross_entropy(LOGITS, labels, "batch"), expected)


def test_balanced_weights_by_hand():
    assert balanced_weights(torch.tensor([6, 2, 0])).tolist() == pytest.approx([8 / 12, 8 / 4, 0])


def test_balanced_weights_with_power_by_hand():
    counts = torch.tensor([9, 1, 0])  # inverse roots 1/3 and 1: 9 / 3 + 1 = 4 over all ten pixels
    assert balanced_weights(counts, 0.5).tolist() == pytest.approx([10 / 4 / 3, 10 / 4, 0])
    assert balanced_weights(counts, 0.0).tolist() == [1, 1, 0]


def test_label_smoothing_agrees_with_torch():
    labels, weights = torch.tensor([0, 1, 1, 255]), torch.tensor([3.0, 1.0, 0.5])
    loss = CrossEntropy(label_smoothing=0.2)
    assert torch.allclose(loss(LOGITS, labels), F.cross_entropy(LOGITS[:3], labels[:3], label_smoothing=0.2))
    assert loss.set_class_weights(weights)
    expected = F.cross_entropy(LOGITS, labels, weights, ignore_index=255, label_smoothing=0.2)
    assert torch.allclose(loss(LOGITS, labels), expected)


def iou(truth, predicted):
    return len(truth & predicted) / len(truth | predicted) if truth | predicted else 1.0


def lovasz_by_hand(logits, labels):
    """Compute definition 1 of the paper step by step.

    The pixels are added in the order of falling errors. Each error is weighted by the increase of the Jaccard loss.
    """
    probabilities, values = logits.softmax(1).tolist(), []
    for label in sorted(set(labels.tolist())):
        truth = {pixel for pixel, true in enumerate(labels.tolist()) if true == label}
        errors = [abs((pixel in truth) - row[label]) for pixel, row in enumerate(probabilities)]
        wrong, before, value = set(), 0.0, 0.0
        for pixel in sorted(range(len(errors)), key=lambda pixel: -errors[pixel]):
            wrong.add(pixel)
            after = 1 - iou(truth, truth ^ wrong)
            value, before = value + errors[pixel] * (after - before), after
        values.append(value)
    return sum(values) / len(values)


def dice_by_hand(logits, labels):
    total, classes = 0.0, logits.shape[1]
    for label in range(classes):
        probability, true = logits.softmax(1)[:, label], (labels == label).float()
        if true.any():
            total += 1 - float(2 * (probability * true).sum() / (probability.sum() + true.sum()))
    return total / classes


@pytest.fixture
def pixels():
    generator = torch.Generator().manual_seed(1)
    labels = torch.randint(3, (40,), generator=generator)
    labels[::7] = 255
    return torch.randn(40, 4, generator=generator) * 2, labels  # no pixel has class 3


@pytest.mark.parametrize(("loss", "reference"), [(Lovasz, lovasz_by_hand), (Dice, dice_by_hand)])
def test_region_loss_agrees_with_paper(pixels, loss, reference):
    logits, labels = pixels
    logits.requires_grad_()
    value = loss()(logits, labels)
    labelled = labels != 255
    assert value.item() == pytest.approx(reference(logits[labelled].detach(), labels[labelled]), rel=1e-5)
    value.backward()
    assert (logits.grad[~labelled] == 0).all()
    assert (logits.grad[labelled] != 0).any(1).all()


def test_ohem_keeps_hardest_pixels(pixels):
    logits, labels = pixels
    losses = F.cross_entropy(logits, labels.where(labels != 255, 0), reduction="none")[labels != 255]
    hardest = losses.sort(descending=True).values
    assert len(hardest) == 34
    assert torch.allclose(OHEMCrossEntropy(keep_ratio=0.25)(logits, labels), hardest[:9].mean())
    assert torch.allclose(OHEMCrossEntropy(keep_ratio=1.0)(logits, labels), cross_entropy(logits, labels, None))
    uncertain = int((losses > math.log(2)).sum())
    assert 9 < uncertain < 34
    assert torch.allclose(OHEMCrossEntropy(keep_ratio=0.25, threshold=0.5)(logits, labels), hardest[:uncertain].mean())
    assert torch.allclose(OHEMCrossEntropy(keep_ratio=0.99, threshold=0.5)(logits, labels), hardest.mean())


def test_ohem_class_weights_do_not_select_pixels():
    labels = torch.tensor([0, 1, 1, 2])
    losses = F.cross_entropy(LOGITS, labels, reduction="none")
    assert losses.argsort(descending=True)[:2].tolist() == [2, 1]
    loss = OHEMCrossEntropy(keep_ratio=0.5)
    assert loss.set_class_weights(torch.tensor([100.0, 1.0, 100.0]))
    assert torch.allclose(loss(LOGITS, labels), losses[[1, 2]].mean())


def test_weighted_sum_passes_class_weights_on(pixels):
    logits, labels = pixels
    weights = torch.tensor([1.0, 5.0, 2.0, 1.0])
    loss = WeightedSum({"a": CrossEntropy(), "b": Lovasz()}, {"b": 0.5, "a": 2.0})
    assert loss.set_class_weights(weights)
    assert torch.allclose(
        loss(logits, labels), 2 * cross_entropy(logits, labels, weights) + Lovasz()(logits, labels) / 2
    )
    assert not WeightedSum({"a": Dice()}, {"a": 1}).set_class_weights(None)


def test_only_pixel_means_support_ddp():
    hard = OHEMCrossEntropy()
    assert CrossEntropy().supports_ddp
    assert not hard.supports_ddp
    assert WeightedSum({"a": CrossEntropy()}, {"a": 1}).supports_ddp
    assert not WeightedSum({"a": CrossEntropy(), "b": hard}, {"a": 1, "b": 1}).supports_ddp


@pytest.mark.parametrize(
    "make", [CrossEntropy, OHEMCrossEntropy, Dice, Lovasz, lambda: WeightedSum({"a": Lovasz()}, {"a": 1.0})]
)
def test_every_loss_of_void_is_zero(make):
    logits = LOGITS.clone().requires_grad_()
    loss = make()(logits, torch.full((4,), 255))
    loss.backward()
    assert loss.shape == ()
    assert loss == 0
    assert (logits.grad == 0).all()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: CrossEntropy(1.5), r"label_smoothing=1\.5 must be a number from 0 to 1"),
        (lambda: OHEMCrossEntropy(keep_ratio=0), r"keep_ratio=0 must be above 0 and at most 1"),
        (lambda: OHEMCrossEntropy(threshold=2), r"threshold=2 must be a number from 0 to 1"),
        (
            lambda: WeightedSum({"a": CrossEntropy()}, {"b": 1}),
            r"weights={'b': 1} must name exactly the losses a, each with",
        ),
        (lambda: WeightedSum({"a": CrossEntropy()}, {"a": 0}), r"weights={'a': 0} must name exactly the losses a"),
        (lambda: WeightedSum({"a": CrossEntropy()}, {"a": -1}), r"weights={'a': -1} must name exactly the losses a"),
    ],
)
def test_invalid_argument_is_refused(make, message):
    with pytest.raises(ArgumentError, match=f"^{message}"):
        make()


def test_missing_library_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "segmentation_models_pytorch", None)
    with pytest.raises(HypercolumnsError, match="segmentation-models-pytorch, which is not installed; run uv sync"):
        Dice()


@pytest.mark.parametrize("weights", [None, torch.tensor([3.0, 1.0, 0.5]), "batch"])
def test_ranks_together_give_loss_of_whole_batch(weights, monkeypatch):
    """Threads stand in for ranks. A barrier makes the sum over ranks wait for all of them."""
    labels, shares = torch.tensor([0, 255, 1, 1]), (slice(0, 3), slice(3, 4))
    together, summands = threading.Barrier(2), {}

    def all_reduce(tensor):
        summands[threading.get_ident()] = tensor
        together.wait(60)
        total = sum(summands.values())
        together.wait(60)
        tensor.copy_(total)

    def loss_and_gradient(share):
        loss = CrossEntropy(label_smoothing=0.1)
        loss.set_class_weights(weights)
        logits = LOGITS[share].clone().requires_grad_()
        value = loss(logits, labels[share])
        return value.detach(), torch.autograd.grad(value, logits)[0]

    expected, gradient = loss_and_gradient(slice(None))
    monkeypatch.setattr(distributed, "all_reduce", all_reduce)
    monkeypatch.setattr(distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(distributed, "get_world_size", lambda: 2)
    with ThreadPoolExecutor(2) as pool:
        (first, above), (second, below) = pool.map(loss_and_gradient, shares)
    assert torch.allclose(torch.stack([first, second]), expected)  # the logged value
    assert torch.allclose(torch.cat([above, below]) / 2, gradient, atol=1e-6)  # the mean over the ranks
