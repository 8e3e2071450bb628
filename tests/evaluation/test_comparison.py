"""Comparing two evaluations: differences, paired intervals, and evaluations that can't be compared."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from hypercolumns import HypercolumnsError
from hypercolumns.evaluation import Evaluation, compare, count_image, intervals


def pair_of_evaluations(images=12, better=0.1):
    """Evaluate two imaginary models on the same masks; the wrong pixels of the first are wrong in the second, too."""
    random = np.random.default_rng(0)
    counts = ([], [])
    for number in range(images):
        mask = torch.from_numpy(random.integers(0, 3, (8, 9)))
        luck = torch.from_numpy(random.random((8, 9)))
        hard = random.uniform(0.2, 0.6)
        for images_of_model, error_rate in zip(counts, (hard - better, hard), strict=True):
            labels = torch.where(luck < error_rate, (mask + 1) % 3, mask)
            images_of_model.append(count_image(f"drive{number % 4}_{number}", labels, mask, 3, 1))
    return tuple(Evaluation.of(images_of_model, "abc", 1) for images_of_model in counts)


def test_difference_lies_within_its_interval():
    evaluation, baseline = pair_of_evaluations()
    result = compare(evaluation, baseline, None, 500, seed=0)
    first, second = evaluation.figures(), baseline.figures()
    assert result["difference"]["miou"] == pytest.approx(first["miou"] - second["miou"])
    assert result["difference"]["per_class_iou"]["b"] == pytest.approx(
        first["per_class_iou"]["b"] - second["per_class_iou"]["b"]
    )
    assert result["evaluation"]["boundary_miou"] == first["boundary_miou"]
    assert result["baseline"]["boundary_miou"] == second["boundary_miou"]
    low, high = result["intervals"]["miou"]
    assert 0 < low < result["difference"]["miou"] < high
    backwards = compare(baseline, evaluation, None, 500, seed=0)
    assert backwards["intervals"]["miou"] == pytest.approx([-high, -low])


def test_pairing_narrows_the_interval():
    evaluation, baseline = pair_of_evaluations()
    width = np.ptp(compare(evaluation, baseline, None, 500, seed=0)["intervals"]["miou"])
    unpaired = [np.ptp(intervals(counts, None, 500, seed=0)["miou"]) for counts in (evaluation, baseline)]
    assert width < 0.5 * np.hypot(*unpaired)


def test_evaluation_does_not_differ_from_itself():
    evaluation, _ = pair_of_evaluations()
    result = compare(evaluation, evaluation, None, 100, seed=0)
    assert result["difference"]["miou"] == 0
    assert result["intervals"]["miou"] == [0, 0]


def test_order_of_images_does_not_matter():
    evaluation, baseline = pair_of_evaluations()
    shuffled = baseline.take([5, 3, 11, 0, 1, 2, 4, 6, 7, 8, 9, 10])
    assert compare(evaluation, shuffled, None, 100, seed=0) == compare(evaluation, baseline, None, 100, seed=0)


def test_groups_are_resampled_as_a_whole():
    evaluation, baseline = pair_of_evaluations()
    assert compare(evaluation, baseline, r"drive\d", 100, seed=0)["intervals"]["drawn_from"] == 4
    assert compare(evaluation, baseline, "drive", 100, seed=0)["intervals"] is None


def test_difference_is_none_if_one_lacks_class():
    truth = torch.zeros(1, 2, dtype=torch.int64)
    evaluation, baseline = (
        Evaluation.of([count_image(id, labels, truth, 2, 1) for id in "pq"], "ab", 1) for labels in (truth, truth + 1)
    )
    result = compare(evaluation, baseline, None, 10, seed=0)
    assert result["difference"]["per_class_iou"] == {"a": 1.0, "b": None}
    assert result["intervals"]["per_class_iou"] == {"a": [1.0, 1.0], "b": None}
    assert (result["difference"]["miou"], result["difference"]["miou_present"]) == (1.0, 1.0)


def test_difference_over_the_present_classes():
    """Each image has 4 pixels of class a; one model predicts one of them as class b, which no mask has."""
    truth = torch.zeros(2, 2, dtype=torch.int64)
    wrong = torch.tensor([[0, 1], [0, 0]])
    evaluation, baseline = (
        Evaluation.of([count_image(id, labels, truth, 3, 1) for id in "pq"], "abc", 1) for labels in (truth, wrong)
    )
    result = compare(evaluation, baseline, None, 10, seed=0)
    assert result["difference"]["miou"] == pytest.approx(1 - (3 / 4 + 0) / 2)
    assert result["difference"]["miou_present"] == pytest.approx(1 - 3 / 4)
    assert result["intervals"]["miou_present"] == pytest.approx([1 / 4, 1 / 4])


def test_incomparable_evaluations_are_refused():
    evaluation, baseline = pair_of_evaluations()
    truths = baseline.all_pixels.clone()
    truths[4, 0, 0] += 1
    for other, message in (
        (
            replace(baseline, classes=("a", "b", "d")),
            "classes a, b, c, but the baseline has the classes a, b, d; compare",
        ),
        (
            replace(baseline, boundary_width=2),
            r"has boundary_width=1, but the baseline has boundary_width=2; evaluate one .* boundary_width",
        ),
        (
            baseline.take(range(11)),
            "has 12 images, and the baseline has 11; 1 images are in only one of them, such as drive3_11",
        ),
        (replace(baseline, all_pixels=truths), "different masks for 1 images, such as drive0_4; evaluate both"),
    ):
        with pytest.raises(HypercolumnsError, match=message):
            compare(evaluation, other, None, 10, seed=0)
