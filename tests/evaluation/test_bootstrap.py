import numpy as np
import pytest
import torch

from hypercolumns import HypercolumnsError
from hypercolumns.data.groups import group_ids
from hypercolumns.evaluation import Evaluation, intervals
from hypercolumns.evaluation.bootstrap import percentile_interval, resample, resampling_groups
from hypercolumns.runtime import randomness


def evaluation_of(all_pixels, ids=None):
    counts = torch.tensor(all_pixels)
    ids = ids or [str(number) for number in range(len(counts))]
    classes = tuple("abcdef"[: counts.shape[1]])
    return Evaluation(classes, tuple(ids), counts, counts // 2, 3)


def random_evaluation(images=7, classes=3, seed=0):
    return evaluation_of(np.random.default_rng(seed).integers(0, 50, (images, classes, classes)).tolist())


def test_images_are_drawn_whole_and_alike_for_all_figures():
    """Against drawing the images one by one, from the same random numbers."""
    evaluation = random_evaluation()
    drawn = resample(evaluation, torch.arange(7), 5, seed=4)
    generator = randomness.generator(4, "bootstrap")
    for number in range(5):
        chosen = torch.randint(7, (7,), generator=generator).tolist()
        expected = evaluation.take(chosen).figures()
        for name in ("miou", "mean_accuracy", "frequency_weighted_iou", "boundary_miou", "boundary_pixel_accuracy"):
            assert float(drawn[name][number]) == pytest.approx(expected[name])
        assert drawn["per_class_iou"][number].tolist() == pytest.approx(list(expected["per_class_iou"].values()))
        near = list(expected["boundary_per_class_iou"].values())
        assert drawn["boundary_per_class_iou"][number].tolist() == pytest.approx(near)


def test_a_group_is_drawn_as_one():
    """Two drives: either of them twice, or each once."""
    evaluation = random_evaluation(images=4)
    groups = resampling_groups(["a1", "a2", "b1", "b2"], "^[a-z]")
    assert groups.tolist() == [0, 0, 1, 1]
    drawn = resample(evaluation, groups, 4000, seed=0)["miou"]
    both, first, second = (evaluation.take(chosen).figures()["miou"] for chosen in ([0, 1, 2, 3], [0, 1], [2, 3]))
    shares = [
        float(torch.isclose(drawn, torch.tensor(value).double()).double().mean()) for value in (both, first, second)
    ]
    assert shares == pytest.approx([0.5, 0.25, 0.25], abs=0.03)
    assert sum(shares) == pytest.approx(1)


def test_groups_by_what_is_in_brackets():
    assert resampling_groups(["x_1_a", "y_1_b", "x_2_a"], r"^(.)_\d_(.)").tolist() == [0, 1, 0]
    assert resampling_groups(["p", "q"], None).tolist() == [0, 1]


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        (r"(", r"group_pattern=\( is not a regular expression"),
        (r"^\d", r"group_pattern=\^\\d does not occur in b2; it must in the id of every"),
    ],
)
def test_groups_that_can_not_be(pattern, message):
    with pytest.raises(HypercolumnsError, match=message):
        resampling_groups(["1", "b2"], pattern)


def test_the_interval_is_the_middle():
    values = torch.arange(1001).double()
    assert percentile_interval(values).tolist() == pytest.approx([25, 975])
    with_gaps = torch.stack([values, torch.where(values % 2 == 0, values, torch.nan)], dim=1)
    assert percentile_interval(with_gaps)[:, 1].tolist() == pytest.approx([25, 975], abs=1)


def test_it_covers_the_truth_as_often_as_it_says():
    """The accuracy of a class over images whose accuracies are spread by chance around 0.5."""
    random, hits = np.random.default_rng(1), 0
    for trial in range(200):
        right = random.binomial(100, random.uniform(0.2, 0.8, 60))
        evaluation = evaluation_of([[[int(one), 100 - int(one)], [0, 0]] for one in right])
        low, high = intervals(evaluation, None, 200, seed=trial)["pixel_accuracy"]
        hits += low <= 0.5 <= high
    assert 0.88 <= hits / 200 <= 0.99


def test_for_metrics_json():
    evaluation = random_evaluation()
    found = intervals(evaluation, None, 200, seed=0)
    assert (found["level"], found["draws"], found["drawn_from"], found["groups"]) == (0.95, 200, 7, None)
    figures = evaluation.figures()
    assert found["miou"][0] < figures["miou"] < found["miou"][1]
    assert found["per_class_iou"].keys() == figures["per_class_iou"].keys()
    assert intervals(evaluation, None, 200, seed=0) == found
    assert intervals(evaluation, None, 200, seed=1) != found


def test_none_without_two_groups_or_without_draws():
    assert intervals(random_evaluation(images=1), None, 100, seed=0) is None
    assert intervals(random_evaluation(), "", 100, seed=0) is None
    assert intervals(random_evaluation(), None, 0, seed=0) is None


def test_a_class_that_is_never_there():
    evaluation = evaluation_of([[[3, 0], [0, 0]], [[4, 0], [0, 0]]])
    assert intervals(evaluation, None, 50, seed=0)["per_class_iou"] == {"a": [1.0, 1.0], "b": None}


def test_a_wrong_pattern_is_told_before_there_are_images():
    with pytest.raises(HypercolumnsError, match=r"group_pattern=\( is not a regular expression"):
        group_ids([], "(", "group_pattern")
