"""The segmenter: dense logits against points, labels, detailed predictions, and model files."""

import json
import shutil
import warnings

import numpy as np
import pytest
import safetensors
import safetensors.torch
import torch
from helpers.networks import KINDS
from omegaconf import OmegaConf
from torch import nn

from hypercolumns import HypercolumnsError, SegmentationPredictor, Segmenter
from hypercolumns.coordinates import full_image_box, normalised_coordinates
from hypercolumns.models import model_file
from hypercolumns.models.alignment import dense, locate_maps
from hypercolumns.models.backbones import Backbone
from hypercolumns.models.classifiers import GridClassifier, MLPClassifier
from hypercolumns.models.engine import AdaptiveSettings
from hypercolumns.models.extractor import HypercolumnExtractor
from hypercolumns.models.tta import NO_TTA, TestTimeAugmentation
from hypercolumns.settings.inference import configure_inference

SIZES = [(33, 47), (64, 40), (1, 1), (5, 90)]  # the last two are smaller than `min_side`


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("resize", [None, (40, 56)])
def test_dense_logits_equal_logits_at_points(any_segmenter, size, resize):
    any_segmenter.extractor.resize = resize
    images = torch.rand(2, 3, *size)
    points = torch.cartesian_prod(*(torch.arange(side) for side in size))[None].expand(2, -1, -1)
    with torch.inference_mode():
        logits = any_segmenter(images)
        assert logits.shape == (2, 3, *size)
        sparse = any_segmenter.logits_at(images, points)
    assert torch.allclose(logits.flatten(2).transpose(1, 2), sparse, atol=1e-4)


def test_dense_logits_equal_concatenated_maps(any_segmenter):
    images = torch.rand(1, 3, 40, 50)
    placed = locate_maps(any_segmenter.backbone.taps, any_segmenter.backbone(images), (40, 50), "exact")
    concatenated = dense(placed, torch.arange(40), torch.arange(50))
    logits = any_segmenter(images)
    where = normalised_coordinates(
        torch.arange(40)[None, :, None], torch.arange(50)[None, None], full_image_box(images.shape[-2:])
    )
    reference = any_segmenter.classifier(concatenated.movedim(1, -1), where).movedim(-1, 1)
    assert (logits - reference).abs().max() <= 1e-5 * (reference.max() - reference.min())


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("resize", [None, (40, 56)])
def test_labels_are_argmax_of_logits(any_segmenter, size, resize):
    any_segmenter.extractor.resize = resize
    images = torch.randint(0, 256, (2, 3, *size), dtype=torch.uint8)
    logits = any_segmenter(images)
    assert torch.equal(logits, any_segmenter(images / 255))
    labels = any_segmenter.labels(images)
    assert labels.dtype == torch.uint8
    assert torch.equal(labels.long(), logits.argmax(1))
    everywhere = AdaptiveSettings(stride=4, margin=float("inf"))
    assert (any_segmenter.labels(images, everywhere) == labels).float().mean() > 0.999


def test_bf16_labels_are_nearly_equal(any_segmenter):
    images = torch.rand(1, 3, 60, 70)
    with torch.autocast("cpu", torch.bfloat16):
        dense, adaptive = any_segmenter.labels(images), any_segmenter.labels(images, AdaptiveSettings(4, 0.5))
    for labels in (dense, adaptive):
        assert (labels == any_segmenter.labels(images)).float().mean() > 0.97


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("c++") is None, reason="torch.compile needs a C++ compiler")
def test_compiled_logits_are_equal(segmenter):
    images = torch.rand(1, 3, 60, 70)
    logits = SegmentationPredictor(segmenter).logits(images[0])
    configure_inference(segmenter, OmegaConf.create({"max_window_pixels": 10**6, "compile": True}))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the compiler emits warnings
        assert torch.allclose(SegmentationPredictor(segmenter).logits(images[0]), logits, atol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_agree_dense_and_at_points(kind):
    contexts, head, settings = KINDS[kind]
    backbone = Backbone("squeezenet1_0", ["features.0", "features.3.expand1x1", *contexts], trainable="all")
    segmenter = Segmenter(
        HypercolumnExtractor(backbone), head(backbone.channels, 3, **settings), ["a", "b", "c"]
    ).double()
    images = torch.rand(1, 3, 30, 41).double()
    points = torch.randint(0, 30, (1, 25, 2))
    factor = torch.randn(1, 25, 3).double()
    dense = segmenter(images)[0, :, points[0, :, 0], points[0, :, 1]].T[None]
    parameters = [p for p in segmenter.parameters() if p.requires_grad]
    assert parameters[0] is backbone.body.get_parameter("features.0.weight")
    ours = torch.autograd.grad((dense * factor).sum(), parameters)
    theirs = torch.autograd.grad((segmenter.logits_at(images, points) * factor).sum(), parameters)
    for mine, other in zip(ours, theirs, strict=True):
        assert torch.allclose(mine, other, rtol=1e-6, atol=1e-8)


def test_crop_with_box_equals_part_of_image():
    """The network sees single pixels, and a context tap and the head depend on the position."""
    torch.manual_seed(0)
    backbone = Backbone("rgb", ["image", "coordinates"])
    segmenter = Segmenter(HypercolumnExtractor(backbone), GridClassifier(5, 3, 3, 8), ["a", "b", "c"]).eval()
    images = torch.rand(2, 3, 40, 50)
    crops = torch.stack([images[0, :, 10:30, 7:40], images[1, :, 3:23, 0:33]])
    boxes = torch.tensor([[-10.0, -7.0, 40.0, 50.0], [-3.0, 0.0, 40.0, 50.0]])
    whole = segmenter(images)
    expected = torch.stack([whole[0, :, 10:30, 7:40], whole[1, :, 3:23, 0:33]])
    assert torch.allclose(segmenter(crops, boxes), expected, atol=1e-5)
    points = torch.randint(0, 20, (2, 30, 2))
    sparse = segmenter.logits_at(crops, points, boxes)
    for crop_points, logits, dense_logits in zip(points, sparse, expected, strict=True):
        assert torch.allclose(logits, dense_logits[:, crop_points[:, 0], crop_points[:, 1]].T, atol=1e-5)
    assert not torch.allclose(segmenter(crops), expected, atol=1e-2)


@pytest.mark.parametrize("tta", [NO_TTA, TestTimeAugmentation((1.0, 0.5), flip=True)])
def test_predict_pixels_matches_probabilities(any_segmenter, tta):
    images = torch.rand(2, 3, 33, 47)
    probabilities = any_segmenter.class_probabilities(images, tta)
    prediction = any_segmenter.predict_pixels(images, tta, probabilities=True)
    assert torch.equal(prediction.labels, probabilities.argmax(1).byte())
    assert (prediction.probabilities.float() - probabilities).abs().max() < 5e-4
    assert (prediction.confidence.float() - probabilities.amax(1)).abs().max() < 5e-4
    entropy = -(probabilities * probabilities.log()).sum(1) / np.log(3)
    assert (prediction.entropy.float() - entropy).abs().max() < 1e-3
    assert any_segmenter.predict_pixels(images, tta).probabilities is None


def test_one_class_is_certain(segmenter):
    sure = (
        Segmenter(segmenter.extractor, MLPClassifier(224, 1, 8), ["all"])
        .eval()
        .predict_pixels(torch.rand(1, 3, 30, 30))
    )
    assert (sure.confidence == 1).all()
    assert (sure.entropy == 0).all()


def test_predict_pixels_supports_255_classes(segmenter):
    many = Segmenter(segmenter.extractor, MLPClassifier(224, 255, 8), [str(number) for number in range(255)]).eval()
    with torch.no_grad():
        many.classifier.rest[-1].weight.zero_()
        many.classifier.rest[-1].bias.zero_()[253] = 1
        assert (many.predict_pixels(torch.rand(1, 3, 30, 30)).labels == 253).all()


def test_more_than_255_classes_raise(segmenter):
    names = [str(number) for number in range(256)]
    with pytest.raises(HypercolumnsError, match="256 classes are more than a mask can hold; use at most 255"):
        Segmenter(segmenter.extractor, MLPClassifier(224, 256, 8), names)


@pytest.mark.parametrize("resize", [None, (40, 56)])
def test_save_and_load_is_bitwise_equal(any_segmenter, tmp_path, resize):
    any_segmenter.extractor.resize = resize
    any_segmenter.save(tmp_path / "model.safetensors")
    loaded = Segmenter.load(tmp_path / "model.safetensors")
    image = torch.rand(3, 50, 61)
    assert torch.equal(SegmentationPredictor(loaded).logits(image), SegmentationPredictor(any_segmenter).logits(image))
    assert loaded.classes == ("ground", "cat", "dog")
    assert loaded.palette == any_segmenter.palette
    assert loaded.extractor.resize == resize
    assert [path.name for path in tmp_path.iterdir()] == ["model.safetensors"]


class TestModelFile:
    @pytest.fixture
    def path(self, segmenter, tmp_path):
        segmenter.save(tmp_path / "model.safetensors")
        return tmp_path / "model.safetensors"

    def rewrite(self, path, change):
        with safetensors.safe_open(path, "pt") as file:
            header = json.loads(file.metadata()["hypercolumns"])
        header.pop("sha256")  # the hash would reveal the change
        tensors = safetensors.torch.load_file(path)
        change(header, tensors)
        safetensors.torch.save_file(tensors, path, {"hypercolumns": json.dumps(header)})

    def test_header_describes_the_model(self, path):
        with safetensors.safe_open(path, "pt") as file:
            header = json.loads(file.metadata()["hypercolumns"])
        assert header["backbone"]["network"] == "squeezenet1_0"
        assert header["backbone"]["taps"][1] == ["features.3.expand1x1", "features.3.expand3x3"]
        assert header["alignment"] == "exact"
        assert header["classifier"] == {"kind": "mlp", "hidden": [8], "dropout": 0.0}
        assert header["classes"] == ["ground", "cat", "dog"]
        assert set(header["versions"]) == {"hypercolumns", "torch", "torchvision"}

    def test_loading_downloads_nothing(self, path, monkeypatch, tmp_path):
        monkeypatch.setenv("TORCH_HOME", str(tmp_path))  # an empty cache
        monkeypatch.setattr("torch.hub.download_url_to_file", lambda *a, **k: pytest.fail("download"))
        Segmenter.load(path)
        # The builder of this network downloads weights for its backbone by default.
        self.rewrite(
            path, lambda h, t: h["backbone"].update(network="fcn_resnet50", taps=[["backbone.relu"]], info=None)
        )
        with pytest.raises(HypercolumnsError, match="tensors are missing"):
            Segmenter.load(path)

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (lambda h, t: h.update(format=1), "the header is not of format 2"),
            (lambda h, t: h["classifier"].update(kind="os.system"), "can't be loaded as a model"),
            (
                lambda h, t: h["classifier"].update(_target_="os.system"),
                "can't be loaded as a model",
            ),
            (lambda h, t: h["backbone"].update(network="os.system"), "network=os.system is not known"),
            (lambda h, t: h["backbone"].update(weights="x"), "can't be loaded as a model"),
            (lambda h, t: h["backbone"].update(info=[]), "the description of the network's maps is invalid"),
            (
                lambda h, t: h["backbone"]["info"].update(min_side=-1),
                r"maps is invalid: ValueError\('-1 must be a whole number from 1 to",
            ),
            (lambda h, t: h["backbone"].update(_target_="os.system"), "can't be loaded as a model"),
            (lambda h, t: h.update(_target_="os.system"), "the header has unknown keys: _target_"),
            (lambda h, t: h["backbone"].update(std=[0, 1, 1]), r"std=\[0, 1, 1\] must be"),
            (lambda h, t: h["backbone"].update(network="timm/hf-hub:a/b"), "hf-hub:a/b is not one of timm's"),
            (lambda h, t: h.update(classes=["a\nb", "c", "d"]), "classes must be a list of valid class names"),
            (lambda h, t: h.update(classes=["\x1b[2J", "c", "d"]), "classes must be a list of valid class names"),
            (lambda h, t: h.update(classes="abc"), "classes must be a list of valid class names"),
            (lambda h, t: h.update(classes=["c", "c", "d"]), "classes must be a list of valid class names"),
            (
                lambda h, t: h.update(palette=[[300, 0, 0]] * 3),
                "must list .red, green, blue., with values from 0 to 255",
            ),
            (lambda h, t: h.update(palette=[[0, 0, 0]]), "must list .red, green, blue., with values from 0 to 255"),
            (
                lambda h, t: h.update(palette=[[0, 0, 1e400]] * 3),
                "must list .red, green, blue., with values from 0 to 255",
            ),
            (
                lambda h, t: h.update(resize=[10**9, 10**9]),
                r"must be null, or \[height, width\] in pixels, each from 1 to 65536",
            ),
            (lambda h, t: h.update(resize="ab"), r"resize=ab must be null, or \[height, width\]"),
            (lambda h, t: h["classifier"].update(hidden=[1] * 10**5), "more hidden layers than the file has tensors"),
            (lambda h, t: h["classifier"].update(hidden=[10**30]), "can't be loaded as a model"),
            (lambda h, t: h.update(versions="x" * 10**6), "the header has 100.... characters"),
            (
                lambda h, t: t["classifier.mean"].fill_(float("nan")),
                "mean contains infinite values or NaN",
            ),
            (lambda h, t: h.update(alignment="none"), "alignment=none is not known"),
            (lambda h, t: h["classes"].pop(), "can't be loaded as a model"),
            (lambda h, t: h["classifier"].update(hidden=[10**9]), "can't be loaded as a model"),
            (lambda h, t: t.pop("classifier.mean"), "can't be loaded as a model"),
            (lambda h, t: t.pop("backbone.body.features.0.bias"), r"tensors are missing, such as features\.0\.bias"),
        ],
    )
    def test_changed_header_or_tensors_raise(self, path, change, message):
        self.rewrite(path, change)
        with pytest.raises(HypercolumnsError, match=message):
            Segmenter.load(path)

    def test_changed_bit_raises(self, path):
        content = bytearray(path.read_bytes())
        content[-3] ^= 1
        path.write_bytes(content)
        with pytest.raises(HypercolumnsError, match="the file has changed since it was written: its sha256 is"):
            Segmenter.load(path)

    @pytest.mark.parametrize(
        ("tensors", "message"),
        [
            ({"a": ([8], [0, 32]), "b": ([8], [16, 48])}, "invalid offset"),
            ({"a": ([8], [0, 10**12])}, "can't be read as a model"),
            ({"a": ([2**40, 2**40], [0, 64])}, "overflow"),
            ({}, "header too large"),
        ],
        ids=["overlapping", "out of range", "huge", "2 GB claimed"],
    )
    def test_false_safetensors_header_raises(self, tmp_path, tensors, message):
        parts = {
            name: {"dtype": "F32", "shape": shape, "data_offsets": offsets}
            for name, (shape, offsets) in tensors.items()
        }
        header = json.dumps({"__metadata__": {"hypercolumns": "{}"}, **parts}).encode()
        length = len(header) if tensors else 2 << 30
        other = tmp_path / "model.safetensors"
        other.write_bytes(length.to_bytes(8, "little") + header + bytes(64))
        with pytest.raises(HypercolumnsError, match=message):
            Segmenter.load(other)

    def test_other_files_raise(self, path, tmp_path):
        other = tmp_path / "other"
        with pytest.raises(HypercolumnsError, match=r"is not a file; pass the model\.safetensors of a finished run"):
            Segmenter.load(other)
        other.write_bytes(b"\x00" * 100)
        with pytest.raises(HypercolumnsError, match="can't be read as a model"):
            Segmenter.load(other)
        safetensors.torch.save_file({"a": torch.zeros(1)}, other)
        with pytest.raises(HypercolumnsError, match="can't be read as a model"):
            Segmenter.load(other)
        other.write_bytes(path.read_bytes()[:-100])
        with pytest.raises(HypercolumnsError, match="can't be read as a model"):
            Segmenter.load(other)

    def test_expanded_tensor_raises(self, segmenter, tmp_path):
        """A checkpoint can store one number that stands for a tensor of any size."""
        tensors = segmenter.state_dict() | {"classifier.mean": torch.zeros(1).expand(10**12)}
        content = model_file.checkpoint_entry(segmenter.header(), tensors)
        torch.save(content | {"state_dict": {}}, tmp_path / "a.ckpt")
        with pytest.raises(
            HypercolumnsError, match=r"classifier\.mean is larger than the data that the file holds for it"
        ):
            Segmenter.load(tmp_path / "a.ckpt")

    @pytest.mark.parametrize(
        "where", ["safetensors.safe_open", "torch.load", "hypercolumns.models.model_file.Backbone"]
    )
    def test_out_of_memory_is_not_a_file_error(self, path, where, segmenter, monkeypatch):
        def fail(*_, **__):
            raise torch.OutOfMemoryError("CUDA out of memory")

        if where == "torch.load":
            torch.save(model_file.checkpoint_entry(segmenter.header(), {}), path)
        monkeypatch.setattr(where, fail)
        with pytest.raises(torch.OutOfMemoryError):
            Segmenter.load(path)


def test_frozen_backbone_gets_no_gradient(segmenter):
    segmenter.train()
    segmenter(torch.rand(1, 3, 30, 30)).sum().backward()
    assert all(parameter.grad is None for parameter in segmenter.backbone.parameters())
    assert all(parameter.grad is not None for parameter in segmenter.classifier.parameters())
    assert not any(module.training for module in segmenter.backbone.body.modules() if isinstance(module, nn.Conv2d))
