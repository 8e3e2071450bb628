"""Models for images with another number of channels than three: files, predictions, exports and windows."""

import json

import numpy as np
import onnxruntime
import pytest
import safetensors.torch
import torch
from helpers.networks import FIRES
from PIL import Image

from hypercolumns import (
    Backbone,
    HypercolumnExtractor,
    HypercolumnsError,
    ImageDecoding,
    MLPClassifier,
    SegmentationPredictor,
    Segmenter,
)
from hypercolumns.export import export_onnx, export_torch

RULES = ImageDecoding(channels=[0, 1, 2, 3])
PIXELS = np.random.default_rng(0).integers(0, 256, (40, 53, 5), np.uint8)
TENSOR = torch.from_numpy(PIXELS[..., :4]).permute(2, 0, 1)


def make(network="squeezenet1_0", taps=("features.0", FIRES[0], "pyramid:2"), decoding=RULES, channels=4, **settings):
    torch.manual_seed(0)
    backbone = Backbone(network, list(taps), input_channels=channels)
    classifier = MLPClassifier(backbone.channels, 3, 8)
    return Segmenter(HypercolumnExtractor(backbone, **settings), classifier, ["a", "b", "c"], decoding=decoding).eval()


@pytest.mark.parametrize("network", ["squeezenet1_0", "rgb"])
def test_model_file_keeps_the_channels(tmp_path, network):
    model = make(network) if network != "rgb" else make("rgb", ["image"])
    model.save(tmp_path / "model.safetensors")
    again = Segmenter.load(tmp_path)
    assert again.backbone.input_channels == 4
    assert again.header() == model.header()
    with torch.no_grad():
        assert torch.equal(again(TENSOR[None]), model(TENSOR[None]))


def test_header_of_other_channels_is_refused(tmp_path):
    model = make()
    for change in ({"mean": [0.5] * 5}, {"mean": [0.5] * 3}, {"mean": 4}):
        header = {**model.header(), "backbone": {**model.header()["backbone"], **change}}
        text = json.dumps(header)
        safetensors.torch.save_file(model.tensors(), tmp_path / "model.safetensors", {"hypercolumns": text})
        with pytest.raises(HypercolumnsError, match="can't be loaded as a model"):
            Segmenter.load(tmp_path)


def test_forms_of_images_agree():
    predictor = SegmentationPredictor(make())
    expected = predictor.predict(TENSOR)
    assert (expected.image == PIXELS[..., :3]).all()
    for image in (PIXELS, PIXELS[..., :4], Image.fromarray(PIXELS[..., :4]), TENSOR / 255):
        prediction = predictor.predict(image)
        assert (prediction.labels == expected.labels).all()
        assert (prediction.image == expected.image).all()
    assert expected.overlay().width >= 53


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (PIXELS[..., :3], r"so it has no channel 3 of channels=\[0,1,2,3\]"),
        (PIXELS[..., 0], r"an array with one channel of uint8, so it has no channel 3"),
        (PIXELS / 255, r"float64, and which values are black and white is not known"),
        (TENSOR[:3], r"or a tensor \(4, H, W\), .*; the given image has the shape \(3, 40, 53\)"),
    ],
)
def test_images_of_other_channels_are_refused(image, message):
    with pytest.raises(HypercolumnsError, match=message):
        SegmentationPredictor(make()).predict(image)


def test_model_of_rgb_refuses_four_channels():
    predictor = SegmentationPredictor(make(decoding=ImageDecoding(), channels=3))
    with pytest.raises(HypercolumnsError, match="an array with 4 channels of uint8, and which of them are red"):
        predictor.predict(PIXELS[..., :4])
    with pytest.raises(HypercolumnsError, match=r"a tensor \(3, H, W\), .* has the shape \(4, 40, 53\)"):
        predictor.predict(TENSOR)


@pytest.mark.parametrize(("channels", "decoding"), [(4, ImageDecoding()), (4, ImageDecoding(channels=[2])), (3, RULES)])
def test_rules_must_fit_the_backbone(channels, decoding):
    with pytest.raises(HypercolumnsError, match=f"but this model takes images of {channels}; list {channels} channels"):
        make(decoding=decoding, channels=channels)


def test_other_rules_must_fit_the_model():
    model = make()
    other = SegmentationPredictor(model, ImageDecoding(channels=[4, 1, 2, 3]))
    assert (other.predict(PIXELS).image == PIXELS[..., [4, 1, 2]]).all()
    with pytest.raises(HypercolumnsError, match=r"^channels=\[0,1,2\] gives images of 3 channels, but this model"):
        SegmentationPredictor(model, ImageDecoding(channels=[0, 1, 2]))


def test_windows_give_the_whole_image():
    whole, cut = make(), make(max_window_pixels=700)
    cut.load_state_dict(whole.state_dict())
    assert len(list(cut.extractor.windows(TENSOR[None]))) > 1
    with torch.no_grad():
        torch.testing.assert_close(cut(TENSOR[None]), whole(TENSOR[None]), atol=1e-4, rtol=1e-4)


@pytest.mark.slow
def test_onnx_agrees_with_a_resizing_model(tmp_path):
    """Both formats hold the same traced program, so each model is tested in one of them."""
    model = make(resize=(32, 48))
    with torch.no_grad():
        expected = model(TENSOR[None])
    export_onnx(model, tmp_path / "model.onnx", "uint8", "logits")
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx")
    assert session.get_inputs()[0].shape == ["batch", 4, "height", "width"]
    logits = torch.from_numpy(session.run(None, {"images": TENSOR[None].numpy()})[0])
    torch.testing.assert_close(logits, expected, atol=1e-3, rtol=1e-3)
    assert json.loads(session.get_modelmeta().custom_metadata_map["decoding"]) == {"channels": [0, 1, 2, 3]}


def test_torch_program_agrees_with_the_model(tmp_path):
    model = make("rgb", ["image", "pyramid:2"])
    with torch.no_grad():
        expected = model(TENSOR[None])
    export_torch(model, tmp_path / "model.pt2", "float", "logits")
    logits = torch.export.load(tmp_path / "model.pt2").module()(TENSOR[None] / 255)
    torch.testing.assert_close(logits, expected, atol=1e-3, rtol=1e-3)
