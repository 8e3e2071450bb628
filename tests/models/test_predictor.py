"""Prediction of single images: forms of input, details, overlays and masks."""

import numpy as np
import pytest
import torch
from PIL import Image

from hypercolumns import (
    AdaptiveSettings,
    HypercolumnsError,
    SegmentationPredictor,
    TestTimeAugmentation,
)
from hypercolumns.models.tta import NO_TTA


def test_predict_accepts_every_form_of_image(segmenter, tmp_path):
    pixels = np.random.default_rng(0).integers(0, 255, (30, 44, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "i.png")
    tensor = torch.from_numpy(pixels).permute(2, 0, 1)
    predictor = SegmentationPredictor(segmenter)
    labels = predictor.predict(tmp_path / "i.png").labels
    assert labels.shape == (30, 44)
    assert labels.dtype == np.uint8
    assert (labels == predictor.logits(pixels).argmax(0).numpy()).all()
    for form in (str(tmp_path / "i.png"), Image.fromarray(pixels), pixels, tensor, tensor.float() / 255):
        assert (predictor.predict(form).labels == labels).all()


def test_probabilities_are_softmax_of_logits(any_segmenter):
    image = torch.rand(3, 33, 47)
    predictor = SegmentationPredictor(any_segmenter)
    prediction = predictor.predict(image, detail="probabilities")
    probabilities = prediction.probabilities
    assert probabilities.dtype == np.float32
    assert np.abs(probabilities - predictor.logits(image).softmax(0).numpy()).max() < 1e-6
    assert (prediction.labels == predictor.predict(image).labels).all()
    assert (prediction.confidence == probabilities.max(0)).all()


@pytest.mark.parametrize("tta", [NO_TTA, TestTimeAugmentation((1.0, 0.5), flip=True)])
def test_detail_adds_to_the_same_labels(any_segmenter, tta):
    image = torch.rand(3, 33, 47)
    predictor = SegmentationPredictor(any_segmenter)
    labels, certain, all_classes = (
        predictor.predict(image, tta=tta, detail=detail) for detail in ("labels", "certainty", "probabilities")
    )
    assert labels.confidence is labels.entropy is labels.probabilities is certain.probabilities is None
    assert (labels.labels == certain.labels).all()
    assert (labels.labels == all_classes.labels).all()
    for name in ("confidence", "entropy"):
        actual, expected = getattr(certain, name), getattr(all_classes, name)
        assert actual.dtype == expected.dtype == np.float32
        assert np.abs(actual - expected).max() < 1e-3


def test_invalid_detail_raises(segmenter):
    predictor, image = SegmentationPredictor(segmenter), torch.rand(3, 9, 9)
    with pytest.raises(HypercolumnsError, match=r"^detail=all is not known; choose one of labels, certainty, prob"):
        predictor.predict(image, detail="all")
    with pytest.raises(HypercolumnsError, match=r"^detail=certainty needs .* leave out adaptive"):
        predictor.predict(image, AdaptiveSettings(), detail="certainty")


def test_labels_are_saved_as_a_palette_png(segmenter, tmp_path):
    prediction = SegmentationPredictor(segmenter).predict(torch.rand(3, 9, 12))
    prediction.save(tmp_path / "mask.png")
    with Image.open(tmp_path / "mask.png") as mask:
        assert mask.mode == "P"
        assert (np.array(mask) == prediction.labels).all()
        assert mask.getpalette()[:9] == [part for colour in segmenter.palette for part in colour]


def test_overlay_blends_image_and_colours(segmenter):
    pixels = np.random.default_rng(0).integers(0, 255, (30, 200, 3), np.uint8)
    predictor = SegmentationPredictor(segmenter)
    prediction = predictor.predict(pixels)
    colours = np.array(segmenter.palette)[prediction.labels]
    plain = np.asarray(prediction.overlay(opacity=0.25, legend=False)).astype(float)
    assert np.abs(plain - (0.75 * pixels + 0.25 * colours)).max() <= 1
    named = np.asarray(predictor.predict(torch.from_numpy(pixels).permute(2, 0, 1) / 255).overlay(opacity=0.25))
    assert named.shape[0] > 30
    assert np.abs(named[:30].astype(float) - plain).max() <= 1


def test_predict_names_a_missing_file(segmenter):
    with pytest.raises(HypercolumnsError, match=r"^image=nope\.jpg does not exist; give the path of an image"):
        SegmentationPredictor(segmenter).predict("nope.jpg")


@pytest.mark.parametrize(
    ("image", "said"),
    [
        (np.zeros(4, np.uint8), r"the shape \(4,\)"),
        (torch.zeros(4, 5, 3), r"the shape \(4, 5, 3\)"),
        (np.zeros((0, 4, 3), np.uint8), r"the shape \(0, 4, 3\)"),
        (torch.full((3, 4, 4), 200), "int64 values from 200 to 200"),
        (np.ones((4, 4, 3), bool), "bool"),
        (torch.full((3, 4, 4), 200.0), r"float32 values from 200\.0 to 200\.0"),
        (torch.full((3, 4, 4), torch.nan), "float32 values from nan"),
        (None, "NoneType"),
        ([np.zeros((4, 4, 3), np.uint8)], "list"),
    ],
)
def test_predict_raises_for_other_inputs(segmenter, image, said):
    with pytest.raises(HypercolumnsError, match=rf"an image must be a path, .*; the given image has .*{said}"):
        SegmentationPredictor(segmenter).predict(image)


def test_predict_restores_training_mode(segmenter):
    SegmentationPredictor(segmenter.train()).predict(np.zeros((30, 30, 3), np.uint8))
    assert segmenter.training
