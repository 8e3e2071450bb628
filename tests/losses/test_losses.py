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


def test_void_is_left_out():
    labels = torch.tensor([0, 255, 1, 255])
    expected = F.cross_entropy(LOGITS[[0, 2]], labels[[0, 2]])
    assert torch.allclose(cross_entropy(LOGITS, labels, None), expected)


def test_nothing_but_void_costs_nothing():
    logits = LOGITS.clone().requires_grad_()
    loss = cross_entropy(logits, torch.full((4,), 255), "batch")
    loss.backward()
    assert loss == 0
    assert (logits.grad == 0).all()


def test_class_weights_are_torchs():
    labels, weights = torch.tensor([0, 1, 1, 255]), torch.tensor([3.0, 1.0, 0.0])
    expected = F.cross_entropy(LOGITS, labels, weights, ignore_index=255)
    assert torch.allclose(cross_entropy(LOGITS, labels, weights), expected)


def test_batch_weights_make_each_class_of_the_batch_count_alike():
    labels = torch.tensor([0, 1, 1, 255])
    losses = F.cross_entropy(LOGITS, labels.where(labels != 255, 0), reduction="none")
    expected = (losses[0] + (losses[1] + losses[2]) / 2) / 2
    assert torch.allclose(cross_entropy(LOGITS, labels, "batch"), expected)


def test_balanced_weights_by_hand():
    assert balanced_weights(torch.tensor([6, 2, 0])).tolist() == pytest.approx([8 / 12, 8 / 4, 0])


def test_weights_between_none_and_balanced_by_hand():
    counts = torch.tensor([9, 1, 0])  # inverse roots 1/3 and 1, of which the ten pixels have 3 + 1
    assert balanced_weights(counts, 0.5).tolist() == pytest.approx([10 / 4 / 3, 10 / 4, 0])
    assert balanced_weights(counts, 0.0).tolist() == [1, 1, 0]


def test_smoothing_is_torchs_weighted_too():
    labels, weights = torch.tensor([0, 1, 1, 255]), torch.tensor([3.0, 1.0, 0.5])
    loss = CrossEntropy(label_smoothing=0.2)
    assert torch.allclose(loss(LOGITS, labels), F.cross_entropy(LOGITS[:3], labels[:3], label_smoothing=0.2))
    assert loss.set_class_weights(weights)
    expected = F.cross_entropy(LOGITS, labels, weights, ignore_index=255, label_smoothing=0.2)
    assert torch.allclose(loss(LOGITS, labels), expected)


def iou(truth, predicted):
    return len(truth & predicted) / len(truth | predicted) if truth | predicted else 1.0


def lovasz_by_hand(logits, labels):
    """Definition 1 of the paper: the Jaccard loss of the set of the pixels with the largest errors, step by step."""
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
    return torch.randn(40, 4, generator=generator) * 2, labels  # one of the classes does not occur


@pytest.mark.parametrize(("loss", "reference"), [(Lovasz, lovasz_by_hand), (Dice, dice_by_hand)])
def test_regions_are_those_of_the_paper_without_void(pixels, loss, reference):
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
    unsure = int((losses > math.log(2)).sum())
    assert 9 < unsure < 34
    assert torch.allclose(OHEMCrossEntropy(keep_ratio=0.25, threshold=0.5)(logits, labels), hardest[:unsure].mean())
    assert torch.allclose(OHEMCrossEntropy(keep_ratio=0.99, threshold=0.5)(logits, labels), hardest.mean())


def test_weights_of_classes_weigh_the_hard_pixels_but_do_not_choose_them():
    labels = torch.tensor([0, 1, 1, 2])
    losses = F.cross_entropy(LOGITS, labels, reduction="none")
    assert losses.argsort(descending=True)[:2].tolist() == [2, 1]
    loss = OHEMCrossEntropy(keep_ratio=0.5)
    assert loss.set_class_weights(torch.tensor([100.0, 1.0, 100.0]))
    assert torch.allclose(loss(LOGITS, labels), losses[[1, 2]].mean())


def test_a_sum_is_of_its_parts_and_weighs_those_that_can_be(pixels):
    logits, labels = pixels
    weights = torch.tensor([1.0, 5.0, 2.0, 1.0])
    loss = WeightedSum({"a": CrossEntropy(), "b": Lovasz()}, {"b": 0.5, "a": 2.0})
    assert loss.set_class_weights(weights)
    assert torch.allclose(
        loss(logits, labels), 2 * cross_entropy(logits, labels, weights) + Lovasz()(logits, labels) / 2
    )
    assert not WeightedSum({"a": Dice()}, {"a": 1}).set_class_weights(None)


def test_which_losses_processes_can_share():
    hard = OHEMCrossEntropy()
    assert CrossEntropy().supports_ddp
    assert not hard.supports_ddp
    assert WeightedSum({"a": CrossEntropy()}, {"a": 1}).supports_ddp
    assert not WeightedSum({"a": CrossEntropy(), "b": hard}, {"a": 1, "b": 1}).supports_ddp


@pytest.mark.parametrize(
    "make", [CrossEntropy, OHEMCrossEntropy, Dice, Lovasz, lambda: WeightedSum({"a": Lovasz()}, {"a": 1.0})]
)
def test_nothing_but_void_costs_nothing_in_any_loss(make):
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
        (lambda: OHEMCrossEntropy(keep_ratio=0), r"keep_ratio=0 must be a share of the pixels above 0"),
        (lambda: OHEMCrossEntropy(threshold=2), r"threshold=2 must be a number from 0 to 1"),
        (
            lambda: WeightedSum({"a": CrossEntropy()}, {"b": 1}),
            r"weights={'b': 1} must have .* for each of a, and",
        ),
        (lambda: WeightedSum({"a": CrossEntropy()}, {"a": 0}), r"weights={'a': 0} must have"),
        (lambda: WeightedSum({"a": CrossEntropy()}, {"a": -1}), r"weights={'a': -1} must have"),
    ],
)
def test_wrong_settings(make, message):
    with pytest.raises(ArgumentError, match=f"^{message}"):
        make()


def test_a_missing_library_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "segmentation_models_pytorch", None)
    with pytest.raises(HypercolumnsError, match="segmentation-models-pytorch, which is not installed: uv sync --extra"):
        Dice()


@pytest.mark.parametrize("weights", [None, torch.tensor([3.0, 1.0, 0.5]), "batch"])
def test_several_processes_give_what_one_would(weights, monkeypatch):
    """The processes are threads; a tensor's sum over them is made where all of them have come to it."""
    labels, shares = torch.tensor([0, 255, 1, 1]), (slice(0, 3), slice(3, 4))
    together, own = threading.Barrier(2), {}

    def all_reduce(tensor):
        own[threading.get_ident()] = tensor
        together.wait(60)
        total = sum(own.values())
        together.wait(60)
        tensor.copy_(total)

    def one(share):
        loss = CrossEntropy(label_smoothing=0.1)
        loss.set_class_weights(weights)
        logits = LOGITS[share].clone().requires_grad_()
        value = loss(logits, labels[share])
        return value.detach(), torch.autograd.grad(value, logits)[0]

    expected, gradient = one(slice(None))
    monkeypatch.setattr(distributed, "all_reduce", all_reduce)
    monkeypatch.setattr(distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(distributed, "get_world_size", lambda: 2)
    with ThreadPoolExecutor(2) as pool:
        (first, above), (second, below) = pool.map(one, shares)
    assert torch.allclose(torch.stack([first, second]), expected)  # what is logged
    assert torch.allclose(torch.cat([above, below]) / 2, gradient, atol=1e-6)  # the mean over the processes
