"""Prediction runs built from plain arguments: what is read, skipped, predicted, written and recorded."""

import csv
import time

import numpy as np
import pytest
import torch
from PIL import Image

from hypercolumns import HypercolumnsError, SegmentationPredictor
from hypercolumns.models.engine import AdaptiveSettings
from hypercolumns.models.tta import TestTimeAugmentation
from hypercolumns.prediction import (
    Frame,
    GroundTruth,
    PredictionManifest,
    PredictionRun,
    PredictOptions,
    Source,
    batch_frames,
    find_sources,
)
from hypercolumns.prediction.class_fractions import describe_class_fractions, write_class_fractions
from hypercolumns.prediction.ordered_pool import OrderedPool


def frame(name, size=None):
    return Frame(name, Source(name, name, False), None, None if size is None else torch.zeros(3, *size))


@pytest.fixture
def photos(tmp_path):
    (tmp_path / "photos").mkdir()
    random = np.random.default_rng(0)
    for name, size in (("a", (8, 9)), ("b", (8, 9)), ("c", (5, 6))):
        Image.fromarray(random.integers(0, 255, (*size, 3), np.uint8)).save(tmp_path / "photos" / f"{name}.png")
    (tmp_path / "photos" / "bad.png").write_text("no image")
    return tmp_path / "photos"


def predict(segmenter, photos, options, masks=None):
    sources = find_sources(str(photos), [".png", ".overlay.jpg"])
    truth = None if masks is None else GroundTruth(masks, sources, segmenter.scheme)
    out = photos.with_name("out")
    with PredictionManifest(out, options.fingerprint(), options.output_settings(), overwrite=False) as manifest:
        manifest.start()
        return PredictionRun(segmenter, options, manifest, truth).run(sources), truth


@pytest.mark.parametrize("workers", [0, 2])
def test_second_run_predicts_nothing_again(segmenter, photos, workers):
    options = PredictOptions(outputs=("mask",), num_workers=workers, batch_size=2)
    summary, _ = predict(segmenter, photos, options)
    assert summary.names == ["a", "b", "c"]
    assert summary.done_before == 0
    (problem,) = summary.problems
    assert "bad.png is not an image in a supported format" in problem
    for name in summary.names:
        with Image.open(photos.with_name("out") / f"{name}.png") as mask:
            expected = SegmentationPredictor(segmenter).predict(photos / f"{name}.png").labels
            assert (np.array(mask) == expected).mean() > 0.98  # a batch of two rounds differently
    again, _ = predict(segmenter, photos, options)
    assert (again.names, again.done_before, again.problems) == (["a", "b", "c"], 3, summary.problems)


def test_run_compares_new_and_old_predictions(segmenter, photos):
    (photos / "bad.png").unlink()
    masks = photos.with_name("masks")
    masks.mkdir()
    for name, size in (("a", (8, 9)), ("b", (8, 9)), ("c", (2, 2))):
        Image.fromarray(np.zeros(size, np.uint8)).save(masks / f"{name}.png")
    for _ in range(2):
        summary, truth = predict(segmenter, photos, PredictOptions(outputs=("mask",)), masks)
        (problem,) = summary.problems
        assert "c.png is 2x2, but its image is 6x5" in problem
        evaluation = truth.evaluation()
        assert evaluation.ids == ("a", "b")
        labels = np.stack([SegmentationPredictor(segmenter).predict(photos / f"{name}.png").labels for name in "ab"])
        assert evaluation.all_pixels.sum(0)[0].tolist() == np.bincount(labels.ravel(), minlength=3).tolist()


def test_frames_of_one_size_are_batched():
    small, large = (2, 2), (3, 3)
    frames = [frame("a", small), frame("none"), frame("b", small), frame("c", small), frame("d", large)]
    batches = [[frame.name for frame in batch] for batch in batch_frames(frames, 2)]
    assert batches == [["none"], ["a", "b"], ["c"], ["d"]]


def test_full_batch_does_not_wait_for_next_frame():
    def frames():
        yield frame("a", (2, 2))
        raise AssertionError("a stream may be silent for hours")

    assert [frame.name for frame in next(batch_frames(frames(), 1))] == ["a"]


@pytest.mark.parametrize(
    ("outputs", "kind"),
    [
        (("mask", "overlay", "color_mask", "labelme"), "labels"),
        (("mask", "entropy"), "certainty"),
        (("confidence", "probabilities"), "probabilities"),
        ((), "labels"),
    ],
)
def test_outputs_decide_what_is_predicted(outputs, kind):
    assert PredictOptions(outputs=outputs).detail == kind


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"opacity": 2}, "^opacity=2 must be a number from 0 to 1"),
        ({"batch_size": 0}, "^batch_size=0 must be"),
        ({"num_workers": -1}, "^num_workers=-1 must be"),
        ({"frame_stride": 0}, "^frame_stride=0 must be"),
        ({"outputs": ("mask", "colour")}, r"^outputs=\['colour'\] are unknown; choose from mask, overlay, color_mask"),
        ({"adaptive": AdaptiveSettings(), "outputs": ("entropy",)}, "leave out adaptive=true or the output entropy"),
        ({"adaptive": AdaptiveSettings(), "tta": TestTimeAugmentation(flip=True)}, "leave out adaptive=true or tta"),
    ],
)
def test_invalid_options_are_refused(arguments, message):
    with pytest.raises(HypercolumnsError, match=message):
        PredictOptions(**arguments)


def test_opacity_invalidates_only_overlays():
    assert PredictOptions(opacity=0.2).output_settings() == {"mask": True, "overlay": [0.2, True]}
    assert PredictOptions(opacity=0.2).fingerprint() == PredictOptions().fingerprint()


def test_pool_waits_for_submitted_items():
    done = []

    def work(item):
        time.sleep(0.05)
        done.append(item)

    with OrderedPool(work, 2) as pool:
        assert pool.submit(1) == pool.submit(2) == []
    assert sorted(done) == [1, 2]


def test_class_fractions_table_and_summary(tmp_path):
    pixels = {"a, b": [3, 0, 1], "c": [0, 0, 6]}
    write_class_fractions(tmp_path / "table.csv", pixels, ["sky", "sea", "sand"])
    with open(tmp_path / "table.csv", newline="") as file:
        rows = list(csv.reader(file))
    assert rows == [
        ["image", "pixels", "sky", "sea", "sand"],
        ["a, b", "4", "0.750000", "0.000000", "0.250000"],
        ["c", "6", "0.000000", "0.000000", "1.000000"],
    ]
    assert describe_class_fractions(pixels, ["sky", "sea", "sand"]) == "2 images: sand 70.0%, sky 30.0%"


def test_binary_masks_of_0_and_255_are_not_scored(segmenter, photos):
    (photos / "bad.png").unlink()
    masks = photos.with_name("masks")
    masks.mkdir()
    for name, size in (("a", (8, 9)), ("b", (8, 9)), ("c", (5, 6))):
        labels = np.zeros(size, np.uint8)
        labels[2:] = 255
        Image.fromarray(labels).save(masks / f"{name}.png")
    with pytest.raises(HypercolumnsError, match=r"only the values 0 and 255, .* stage=evaluate predictions=FOLDER"):
        predict(segmenter, photos, PredictOptions(outputs=("mask",)), masks)
    assert not photos.with_name("out").exists()
