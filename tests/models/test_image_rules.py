"""A model keeps the rules by which the images of its training were read, and reads new images by them."""

import json
import re
from dataclasses import replace

import numpy as np
import pytest
import safetensors.torch
import tifffile
import torch
from PIL import Image

from hypercolumns import (
    Backbone,
    HypercolumnExtractor,
    HypercolumnsError,
    ImageDecoding,
    SegmentationPredictor,
    Segmenter,
)
from hypercolumns.models.classifiers import MLPClassifier
from hypercolumns.models.predictor import as_tensor

RULES = ImageDecoding(range=[0, 4095], channels=[3, 0, 1])
DEEP = np.random.default_rng(0).integers(0, 4096, (9, 13, 4), np.uint16)
SHOWN = np.rint(DEEP[..., [3, 0, 1]] / 4095 * 255).astype(np.uint8)


def make(decoding):
    torch.manual_seed(0)
    backbone = Backbone("rgb", ["image"])
    classifier = MLPClassifier(backbone.channels, 2, 4)
    return Segmenter(HypercolumnExtractor(backbone), classifier, ["a", "b"], None, decoding).eval()


def header(path):
    with safetensors.safe_open(path, "pt") as file:
        return json.loads(file.metadata()["hypercolumns"])


def test_model_file_keeps_the_rules(tmp_path):
    make(RULES).save(tmp_path / "model.safetensors")
    assert header(tmp_path / "model.safetensors")["decoding"] == {"range": [0, 4095], "channels": [3, 0, 1]}
    assert Segmenter.load(tmp_path).decoding == RULES


def test_model_without_rules_has_no_entry(tmp_path):
    make(ImageDecoding()).save(tmp_path / "model.safetensors")
    assert "decoding" not in header(tmp_path / "model.safetensors")
    assert Segmenter.load(tmp_path).decoding == ImageDecoding()


@pytest.mark.parametrize("rules", [{"range": [9, 0]}, {"depth": 3}, {"prefix": "x"}, [1], "range"])
def test_invalid_rules_in_a_file_are_refused(tmp_path, rules):
    model = make(RULES)
    text = json.dumps({**model.header(), "decoding": rules})
    safetensors.torch.save_file(model.tensors(), tmp_path / "model.safetensors", {"hypercolumns": text})
    with pytest.raises(HypercolumnsError, match="can't be loaded as a model"):
        Segmenter.load(tmp_path)


@pytest.mark.parametrize("form", ["path", "array", "big-endian array"])
def test_predictor_reads_images_by_the_rules(tmp_path, form):
    tifffile.imwrite(tmp_path / "i.tif", DEEP, photometric="minisblack", planarconfig="contig")
    image = {"path": tmp_path / "i.tif", "array": DEEP, "big-endian array": DEEP.astype(">u2")}[form]
    prediction = SegmentationPredictor(make(RULES)).predict(image)
    assert (prediction.image == SHOWN).all()
    plain = SegmentationPredictor(make(ImageDecoding())).predict(SHOWN)
    assert (prediction.labels == plain.labels).all()


@pytest.mark.parametrize(
    ("rules", "image", "expected"),
    [
        ({}, SHOWN, SHOWN),
        ({}, SHOWN[..., 0], SHOWN[..., [0, 0, 0]]),
        ({}, torch.from_numpy(SHOWN).permute(2, 0, 1), SHOWN),
        ({}, SHOWN / 255, SHOWN),
        ({"range": "dtype"}, SHOWN, SHOWN),
        ({"range": "dtype"}, SHOWN.astype(np.uint16) * 257, SHOWN),
        ({"range": [0, 4095]}, torch.from_numpy(SHOWN).permute(2, 0, 1), SHOWN),  # a tensor is RGB already
        ({"range": [-1, 3]}, SHOWN / 255 * 4 - 1, SHOWN),
        ({"range": [0, 4095]}, Image.fromarray(DEEP[..., 3]), SHOWN[..., [0, 0, 0]]),
        ({"channels": [2]}, SHOWN, SHOWN[..., [2, 2, 2]]),
        ({"channels": [2, 1, 0]}, Image.fromarray(SHOWN), SHOWN[..., ::-1]),
    ],
)
def test_forms_of_images(rules, image, expected):
    prediction = SegmentationPredictor(make(ImageDecoding(**rules))).predict(image)
    assert (prediction.image == expected).all()


@pytest.mark.parametrize(
    ("rules", "image", "message"),
    [
        (
            {},
            DEEP[..., :3],
            r"the image is an array with 3 channels of uint16, .*; set range=\[0,4095\], which fits the values seen",
        ),
        ({}, DEEP[..., :3] * 16, r"uint16, .*; set range=dtype \(0 to 65535\), range=\[low,high\]"),
        ({}, SHOWN / 20, r"float64, and which values are black and white is not known; set range=\[low,high\]"),
        ({}, SHOWN.astype(np.int64), "int64, and which values are black and white"),
        ({}, np.zeros((4, 5, 2), np.uint8), r"2 channels of uint8, and which of them are red, .*channels=\[0,1,2\]"),
        ({"channels": [0, 1, 3]}, SHOWN, r"so it has no channel 3 of channels=\[0,1,3\]"),
        ({"range": [0, 4095]}, SHOWN, r"whose values from 0 to 255 can't fill range=\[0,4095\]"),
        ({"range": "dtype"}, SHOWN / 1.0, "float64, and range=dtype is for integers only"),
    ],
)
def test_unclear_arrays_are_refused(rules, image, message):
    with pytest.raises(HypercolumnsError, match=message):
        SegmentationPredictor(make(ImageDecoding(**rules))).predict(image)


FOUR = {"channels": [0, 1, 2, 3], "range": [0, 4095]}


@pytest.mark.parametrize(
    ("rules", "shape"),
    [({}, (3, 24, 32)), ({}, (1, 24, 32)), (FOUR, (4, 24, 32)), ({"channels": [3, 0, 1]}, (4, 9, 32))],
)
def test_channels_first_is_refused(rules, shape):
    with pytest.raises(HypercolumnsError, match=rf"must be \(H, W, C\).*{re.escape(str(shape))}, .* like \(C, H, W\)"):
        as_tensor(np.zeros(shape, np.uint8), ImageDecoding(**rules))


@pytest.mark.parametrize("shape", [(4, 32, 4), (4, 4, 4), (24, 4, 4), (3, 32, 4)])
def test_channels_last_of_few_rows_pass(shape):
    values = np.random.default_rng(0).integers(0, 4096, shape, np.uint16)
    expected = np.rint(np.moveaxis(values, -1, 0) / 4095 * 255)
    assert (as_tensor(values, ImageDecoding(**FOUR)).numpy() == expected).all()


def test_floats_in_a_far_wider_range_are_refused():
    scaled = DEEP / 4095
    message = (
        r"floats from 0 to 0\.997314, but the model reads values from 0 \(black\) to 4095 \(white\).*range=\(0, 1\)"
    )
    with pytest.raises(HypercolumnsError, match=message):
        as_tensor(scaled.astype(np.float32), RULES)
    assert (as_tensor(scaled, replace(RULES, range=(0, 1))).permute(1, 2, 0).numpy() == SHOWN).all()
    assert (as_tensor(DEEP * 1.0, RULES).permute(1, 2, 0).numpy() == SHOWN).all()
    assert not as_tensor(scaled * 0, RULES).any()  # an empty tile is black anyway


def test_refused_file_names_its_values(tmp_path):
    tifffile.imwrite(tmp_path / "i.tif", DEEP[..., 0] // 8 + 3)
    low, high = DEEP[..., 0].min() // 8 + 3, DEEP[..., 0].max() // 8 + 3
    message = rf"i\.tif is a TIFF .*; set range=\[0,511\], which fits the values seen \({low} to {high}\), or range="
    with pytest.raises(HypercolumnsError, match=message):
        SegmentationPredictor(make(ImageDecoding())).predict(tmp_path / "i.tif")


def test_predictor_takes_other_rules(tmp_path):
    make(RULES).save(tmp_path / "model.safetensors")
    predictor = SegmentationPredictor.load(tmp_path, ImageDecoding(range=[0, 65535]))
    assert (predictor.predict(DEEP * 16).image == np.rint(DEEP[..., [3, 0, 1]] * 16 / 65535 * 255)).all()
    assert predictor.segmenter.decoding == RULES
