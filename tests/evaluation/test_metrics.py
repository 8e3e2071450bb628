"""Segmentation metrics against values worked out by hand, NumPy and torchmetrics."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hypercolumns.evaluation import metrics
from hypercolumns.evaluation.metrics import segmentation_metrics
from hypercolumns.tasks.running_metrics import confusion_metric


def test_metrics_equal_values_by_hand():
    """Classes 0, 1 and 2 occur; 3 is predicted but never true; 4 is only predicted on a void pixel."""
    truth = torch.tensor([0, 0, 0, 0, 1, 1, 2, 2, 255])
    predicted = torch.tensor([0, 0, 0, 1, 1, 1, 3, 2, 4])
    confusion = confusion_metric(5)
    confusion.update(predicted, truth)
    figures = segmentation_metrics(confusion.compute())
    assert figures.per_class_iou == pytest.approx((3 / 4, 2 / 3, 1 / 2, 0.0, None))
    assert figures.per_class_accuracy == pytest.approx((3 / 4, 1.0, 1 / 2, None, None))
    assert figures.miou == pytest.approx((3 / 4 + 2 / 3 + 1 / 2 + 0) / 4)
    assert figures.miou_present == pytest.approx((3 / 4 + 2 / 3 + 1 / 2) / 3)
    assert figures.pixel_accuracy == pytest.approx(6 / 8)
    assert figures.mean_accuracy == pytest.approx((3 / 4 + 1 + 1 / 2) / 3)
    assert figures.frequency_weighted_iou == pytest.approx((4 * 3 / 4 + 2 * 2 / 3 + 2 / 2) / 8)
    assert figures.pixels == 8
    assert figures.baseline_class == 0
    assert figures.baseline_miou == pytest.approx(4 / 8 / 3)


def test_one_pixel_of_an_absent_class():
    """Class 3 is in neither, and class 4 is only in the truth of the second matrix."""
    truth = torch.arange(128).repeat(256, 1) // 64
    predicted = truth.clone()
    predicted[0, 0] = 2
    counts = metrics.confusion(predicted, truth, 5)
    figures = segmentation_metrics(counts)
    assert truth.numel() == 32768
    assert figures.miou == pytest.approx((16383 / 16384 + 1 + 0) / 3)
    assert figures.miou_present == pytest.approx((16383 / 16384 + 1) / 2)
    assert (round(figures.miou, 3), round(figures.miou_present, 3)) == (0.667, 1.0)
    truth[0, 1] = 4
    figures = segmentation_metrics(metrics.confusion(predicted, truth, 5))
    assert figures.per_class_iou == pytest.approx((16382 / 16384, 1.0, 0.0, None, 0.0))
    assert figures.miou == pytest.approx((16382 / 16384 + 1 + 0 + 0) / 4)
    assert figures.miou_present == pytest.approx((16382 / 16384 + 1 + 0) / 3)


def test_iou_is_not_the_mean_over_images():
    confusion = confusion_metric(2)
    confusion.update(torch.tensor([0, 0, 0, 0]), torch.tensor([0, 0, 0, 1]))
    confusion.update(torch.tensor([1]), torch.tensor([1]))
    assert segmentation_metrics(confusion.compute()).per_class_iou == pytest.approx((3 / 4, 1 / 2))


def test_running_confusion_counts_in_int64():
    assert confusion_metric(3).confmat.dtype == torch.int64


def test_metrics_of_void_are_none():
    confusion = confusion_metric(2)
    confusion.update(torch.tensor([0, 1]), torch.tensor([255, 255]))
    figures = segmentation_metrics(confusion.compute())
    assert (
        figures.miou
        is figures.miou_present
        is figures.pixel_accuracy
        is figures.baseline_miou
        is figures.baseline_class
        is None
    )
    assert figures.pixels == 0


@given(st.integers(1, 6), st.integers(1, 30), st.integers(1, 30), st.integers(0, 2**32 - 1))
def test_iou_equals_numpy_reference(classes, height, width, seed):
    random = np.random.default_rng(seed)
    truth = random.choice([*range(classes), 255], (height, width))
    predicted = random.integers(0, classes, (height, width))
    confusion = confusion_metric(classes)
    confusion.update(torch.from_numpy(predicted), torch.from_numpy(truth))
    figures = segmentation_metrics(confusion.compute())
    valid = truth != 255
    ious = []
    for label in range(classes):
        both = ((truth == label) & (predicted == label) & valid).sum()
        either = (((truth == label) | (predicted == label)) & valid).sum()
        ious.append(both / either if either else None)
    assert figures.per_class_iou == pytest.approx(tuple(ious))
    present = [iou for iou in ious if iou is not None]
    assert figures.miou == (pytest.approx(np.mean(present)) if present else None)
    true = [iou for label, iou in enumerate(ious) if (truth == label).any()]
    assert figures.miou_present == (pytest.approx(np.mean(true)) if true else None)


def test_as_dict_names_the_classes():
    named = segmentation_metrics(torch.tensor([[3, 1], [0, 0]])).as_dict(["sky", "sea"])
    assert named["per_class_iou"] == {"sky": 0.75, "sea": 0.0}
    assert named["per_class_accuracy"] == {"sky": 0.75, "sea": None}
    assert named["baseline"] == {"class": "sky", "miou": 1.0}


@given(st.integers(1, 6), st.integers(1, 30), st.integers(1, 30), st.integers(0, 2**32 - 1))
def test_confusion_equals_torchmetrics(classes, height, width, seed):
    """The labels are uint8, as those of a model are."""
    random = np.random.default_rng(seed)
    truth = torch.from_numpy(random.choice([*range(classes), 255], (height, width)).astype(np.uint8))
    predicted = torch.from_numpy(random.integers(0, classes, (height, width)).astype(np.uint8))
    counts = metrics.confusion(predicted, truth, classes)
    reference = confusion_metric(classes)
    reference.update(predicted.long(), truth.long())
    assert counts.dtype == torch.int64
    assert counts.tolist() == reference.compute().reshape(classes, classes).tolist()
