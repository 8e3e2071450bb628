"""Evaluations against a plain NumPy reference that shares no code with the project; saving and loading."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hypercolumns import HypercolumnsError
from hypercolumns.evaluation import Evaluation, count_image

VOID = 255


def near_a_boundary(truth, width):
    """Mark each pixel that has a pixel of another label within `width` pixels."""
    near = np.zeros(truth.shape, bool)
    for y, x in np.ndindex(*truth.shape):
        around = truth[max(y - width, 0) : y + width + 1, max(x - width, 0) : x + width + 1]
        near[y, x] = (around != truth[y, x]).any()
    return near


def reference(pairs, classes, chosen):
    """Compute the metrics over the pixels that `chosen` selects in the masks of all images."""
    truth = np.concatenate([mask[chosen(mask) & (mask != VOID)] for _, mask in pairs])
    predicted = np.concatenate([labels[chosen(mask) & (mask != VOID)] for labels, mask in pairs])
    iou, accuracy, weights = [], [], []
    for label in range(classes):
        either = ((truth == label) | (predicted == label)).sum()
        iou.append(((truth == label) & (predicted == label)).sum() / either if either else None)
        accuracy.append((predicted[truth == label] == label).mean() if (truth == label).any() else None)
        weights.append((truth == label).sum())

    def mean(values):
        return np.mean([value for value in values if value is not None]) if set(values) != {None} else None

    weighted = sum(weight * value for weight, value in zip(weights, iou, strict=True) if value is not None)
    all_pixels = [1 if label == np.argmax(weights) else 0 for label in range(classes) if weights[label]]
    return {
        "miou": mean(iou),
        "miou_present": mean([value if weight else None for value, weight in zip(iou, weights, strict=True)]),
        "pixel_accuracy": (truth == predicted).mean() if len(truth) else None,
        "mean_accuracy": mean(accuracy),
        "frequency_weighted_iou": weighted / len(truth) if len(truth) else None,
        "pixels": len(truth),
        "per_class_iou": iou,
        "per_class_accuracy": accuracy,
        "baseline": max(weights) / sum(weights) * sum(all_pixels) / len(all_pixels) if all_pixels else None,
    }


@st.composite
def images(draw):
    """Draw a number of classes and (labels, mask) pairs; classes can be absent, and some or all pixels void."""
    classes = draw(st.integers(1, 7))
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    pairs = []
    for _ in range(draw(st.integers(1, 4))):
        height, width = draw(st.integers(1, 13)), draw(st.integers(1, 13))
        present = random.choice(classes, random.integers(1, classes + 1), replace=False)
        block = random.integers(1, 5)
        mask = random.choice(present, (height // block + 1, width // block + 1))
        mask = mask.repeat(block, 0).repeat(block, 1)[:height, :width].copy()
        mask[random.random((height, width)) < draw(st.sampled_from([0, 0.2, 1]))] = VOID
        labels = np.where(random.random((height, width)) < 0.7, mask, random.integers(0, classes, (height, width)))
        labels[labels == VOID] = random.integers(0, classes)
        pairs.append((labels.astype(np.uint8), mask.astype(np.uint8)))
    return classes, pairs


def evaluate(classes, pairs, width=2):
    counts = [
        count_image(f"image {number}", torch.from_numpy(labels), torch.from_numpy(mask), classes, width)
        for number, (labels, mask) in enumerate(pairs)
    ]
    return Evaluation.of(counts, [f"class {label}" for label in range(classes)], width)


@settings(max_examples=300)
@given(images(), st.integers(1, 4))
def test_metrics_equal_numpy_reference(drawn, width):
    classes, pairs = drawn
    figures = evaluate(classes, pairs, width).figures()
    expected = reference(pairs, classes, lambda mask: np.full(mask.shape, True))
    near = reference(pairs, classes, lambda mask: near_a_boundary(mask, width))
    for name, value in expected.items():
        if name == "baseline":
            assert figures["baseline"]["miou"] == (None if value is None else pytest.approx(value))
        elif isinstance(value, list):
            assert list(figures[name].values()) == [None if iou is None else pytest.approx(iou) for iou in value]
        else:
            assert figures[name] == (None if value is None else pytest.approx(value))
    for name in ("miou", "miou_present", "pixel_accuracy", "pixels"):
        assert figures[f"boundary_{name}"] == (None if near[name] is None else pytest.approx(near[name]))
    boundary_iou = list(figures["boundary_per_class_iou"].values())
    assert boundary_iou == [None if iou is None else pytest.approx(iou) for iou in near["per_class_iou"]]
    assert figures["images"] == len(pairs)


def test_counts_are_int64_per_image():
    truth, labels = torch.tensor([[0, 1, 255]]), torch.tensor([[0, 0, 1]])
    evaluation = Evaluation.of(
        [count_image("a", labels, truth, 2, 1), count_image("b", truth % 255, truth, 2, 1)], "xy", 1
    )
    assert evaluation.all_pixels.dtype == torch.int64
    assert evaluation.all_pixels.tolist() == [[[1, 0], [1, 0]], [[1, 0], [0, 1]]]


def test_worst_images_come_first_without_void():
    truth = torch.tensor([[0, 0, 1, 1]])
    wrong, half, void = 1 - truth, torch.tensor([[0, 0, 1, 0]]), torch.full_like(truth, VOID)
    pairs = {"half": (half, truth), "right": (truth, truth), "void": (truth, void), "wrong": (wrong, truth)}
    counts = [count_image(id, labels, mask, 2, 1) for id, (labels, mask) in pairs.items()]
    evaluation = Evaluation.of(counts, "xy", 1)
    assert [evaluation.ids[index] for index in evaluation.worst(9)] == ["wrong", "half", "right"]
    assert evaluation.worst(1) == [3]


def test_saved_evaluation_loads_equal(tmp_path):
    labels, mask = torch.randint(3, (2, 5, 6), generator=torch.Generator().manual_seed(0))
    evaluation = Evaluation.of([count_image("é/1", labels, mask, 3, 2)], ["a", "ß", "c d"], 2)
    evaluation.save(tmp_path / "images.npz")
    loaded = Evaluation.load(tmp_path / "images.npz")
    assert (loaded.ids, loaded.classes, loaded.boundary_width) == (evaluation.ids, evaluation.classes, 2)
    assert torch.equal(loaded.all_pixels, evaluation.all_pixels)
    assert torch.equal(loaded.boundary, evaluation.boundary)


@pytest.mark.parametrize("content", [b"", b"not an archive", b"PK\x03\x04 cut"])
def test_damaged_file_is_refused(tmp_path, content):
    (tmp_path / "images.npz").write_bytes(content)
    with pytest.raises(
        HypercolumnsError,
        match=r"images\.npz is missing, damaged or not an evaluation; remove it if it exists, and rerun",
    ):
        Evaluation.load(tmp_path / "images.npz")


def test_file_of_other_arrays_is_refused(tmp_path):
    np.savez(tmp_path / "images.npz", x=np.zeros(3))
    with pytest.raises(HypercolumnsError, match="damaged or not an evaluation"):
        Evaluation.load(tmp_path / "images.npz")


def test_file_with_mismatched_shapes_is_refused(tmp_path):
    labels = torch.zeros(1, 2, dtype=torch.uint8)
    evaluation = Evaluation.of([count_image("a", labels, labels, 2, 1)], "xy", 1)
    replace(evaluation, ids=("a", "b")).save(tmp_path / "images.npz")
    message = r"images\.npz is not an evaluation \(the shapes of its arrays do not match each other\); remove it"
    with pytest.raises(HypercolumnsError, match=message):
        Evaluation.load(tmp_path / "images.npz")
