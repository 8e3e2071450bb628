"""Bootstrap intervals against a slow reference, known distributions and a coverage experiment."""

import numpy as np
import pytest
import torch

from hypercolumns import HypercolumnsError
from hypercolumns.data.groups import group_ids
from hypercolumns.evaluation import Evaluation, intervals
from hypercolumns.evaluation.bootstrap import percentile_interval, resample, resampling_groups
from hypercolumns.runtime import randomness

BOOTSTRAPPED = (
    "miou miou_present mean_accuracy frequency_weighted_iou boundary_miou boundary_miou_present boundary_pixel_accuracy"
).split()


def evaluation_of(all_pixels, ids=None):
    counts = torch.tensor(all_pixels)
    ids = ids or [str(number) for number in range(len(counts))]
    classes = tuple("abcdef"[: counts.shape[1]])
    return Evaluation(classes, tuple(ids), counts, counts // 2, 3)


def random_evaluation(images=7, classes=3, seed=0):
    return evaluation_of(np.random.default_rng(seed).integers(0, 50, (images, classes, classes)).tolist())


def test_resample_equals_metrics_of_drawn_images():
    """The reference draws the images one by one, with the same random numbers."""
    evaluation = random_evaluation()
    evaluation.all_pixels[:, 2], evaluation.boundary[:, 2] = 0, 0  # no mask has the last class
    drawn = resample(evaluation, torch.arange(7), 5, seed=4)
    generator = randomness.generator(4, "bootstrap")
    for number in range(5):
        chosen = torch.randint(7, (7,), generator=generator).tolist()
        expected = evaluation.take(chosen).figures()
        for name in BOOTSTRAPPED:
            assert float(drawn[name][number]) == pytest.approx(expected[name])
        assert drawn["per_class_iou"][number].tolist() == pytest.approx(list(expected["per_class_iou"].values()))
        near = list(expected["boundary_per_class_iou"].values())
        assert drawn["boundary_per_class_iou"][number].tolist() == pytest.approx(near)


def test_groups_are_drawn_as_a_whole():
    """Of two drives, a draw has one of them twice or each of them once."""
    evaluation = random_evaluation(images=4)
    groups = resampling_groups(["a1", "a2", "b1", "b2"], "^[a-z]")
    assert groups.tolist() == [0, 0, 1, 1]
    drawn = resample(evaluation, groups, 4000, seed=0)["miou"]
    both, first, second = (evaluation.take(chosen).figures()["miou"] for chosen in ([0, 1, 2, 3], [0, 1], [2, 3]))
    frequencies = [
        float(torch.isclose(drawn, torch.tensor(value).double()).double().mean()) for value in (both, first, second)
    ]
    assert frequencies == pytest.approx([0.5, 0.25, 0.25], abs=0.03)
    assert sum(frequencies) == pytest.approx(1)


def test_capturing_groups_determine_image_groups():
    assert resampling_groups(["x_1_a", "y_1_b", "x_2_a"], r"^(.)_\d_(.)").tolist() == [0, 1, 0]
    assert resampling_groups(["p", "q"], None).tolist() == [0, 1]


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        (r"(", r"group_pattern=\( is not a regular expression"),
        (r"^\d", r"group_pattern=\^\\d does not match image id b2; the pattern must match the ids of all images"),
    ],
)
def test_unsuitable_group_pattern_is_refused(pattern, message):
    with pytest.raises(HypercolumnsError, match=message):
        resampling_groups(["1", "b2"], pattern)


def test_percentile_interval_is_the_middle():
    values = torch.arange(1001).double()
    assert percentile_interval(values).tolist() == pytest.approx([25, 975])
    with_gaps = torch.stack([values, torch.where(values % 2 == 0, values, torch.nan)], dim=1)
    assert percentile_interval(with_gaps)[:, 1].tolist() == pytest.approx([25, 975], abs=1)


def test_interval_covers_truth_at_nominal_rate():
    """The accuracies of 60 images are random with mean 0.5; about 95 % of the intervals contain 0.5."""
    random, hits = np.random.default_rng(1), 0
    for trial in range(200):
        right = random.binomial(100, random.uniform(0.2, 0.8, 60))
        evaluation = evaluation_of([[[int(count), 100 - int(count)], [0, 0]] for count in right])
        low, high = intervals(evaluation, None, 200, seed=trial)["pixel_accuracy"]
        hits += low <= 0.5 <= high
    assert 0.88 <= hits / 200 <= 0.99


def test_intervals_entry_of_metrics_json():
    evaluation = random_evaluation()
    result = intervals(evaluation, None, 200, seed=0)
    assert (result["level"], result["draws"], result["drawn_from"], result["groups"]) == (0.95, 200, 7, None)
    figures = evaluation.figures()
    assert result["miou"][0] < figures["miou"] < result["miou"][1]
    assert result["per_class_iou"].keys() == figures["per_class_iou"].keys()
    assert intervals(evaluation, None, 200, seed=0) == result
    assert intervals(evaluation, None, 200, seed=1) != result


def test_no_intervals_without_two_groups_or_draws():
    assert intervals(random_evaluation(images=1), None, 100, seed=0) is None
    assert intervals(random_evaluation(), "", 100, seed=0) is None
    assert intervals(random_evaluation(), None, 0, seed=0) is None


def test_interval_of_absent_class_is_none():
    evaluation = evaluation_of([[[3, 0], [0, 0]], [[4, 0], [0, 0]]])
    assert intervals(evaluation, None, 50, seed=0)["per_class_iou"] == {"a": [1.0, 1.0], "b": None}


def test_invalid_pattern_is_refused_early():
    with pytest.raises(HypercolumnsError, match=r"group_pattern=\( is not a regular expression"):
        group_ids([], "(", "group_pattern")
