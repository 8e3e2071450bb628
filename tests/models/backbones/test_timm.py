"""Networks of timm: names, weights and error messages. The contract of all backbones is in test_contract.py."""

import os
import subprocess
import sys

import pytest
import timm
import torch

from hypercolumns import SegmentationPredictor, Segmenter
from hypercolumns.errors import HypercolumnsError
from hypercolumns.models.backbones import IMAGENET_MEAN, Backbone
from hypercolumns.models.classifiers import MLPClassifier
from hypercolumns.models.extractor import HypercolumnExtractor

NAME = "timm/test_resnet.r160_in1k"


def random(name, **settings):
    """Build a backbone with the maps that timm lists, and with random weights unless a file is given."""
    return Backbone(name, None, mean=None, std=None, **settings).eval()


def test_default_maps_equal_features_only_of_timm():
    backbone = random(NAME)
    reference = timm.create_model("test_resnet", features_only=True).eval()
    reference.load_state_dict(backbone.body.state_dict(), strict=False)
    images = torch.rand(1, 3, 65, 50)
    with torch.no_grad():
        for ours, theirs in zip(backbone(images), reference((images - 0.5) / 0.5), strict=True):
            assert torch.allclose(ours, theirs, atol=1e-5)


def test_modules_can_be_tapped_by_name():
    backbone = Backbone(NAME, ["bn1", "layer2.0.bn2"])
    assert [tap.name for tap in backbone.taps] == ["bn1", "layer2.0.bn2"]


def test_model_file_needs_timm_but_no_weights(tmp_path, monkeypatch):
    backbone = random(NAME)
    segmenter = Segmenter(
        HypercolumnExtractor(backbone), MLPClassifier(backbone.channels, 2, hidden=4), ["a", "b"]
    ).eval()
    path = tmp_path / "model.safetensors"
    segmenter.save(path)
    image = torch.rand(3, 40, 50)
    assert torch.equal(SegmentationPredictor.load(path).logits(image), SegmentationPredictor(segmenter).logits(image))
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(HypercolumnsError, match=r"not installed; .* uv sync --extra timm or pip install"):
        Segmenter.load(path)


def test_buffers_outside_state_dict_are_created():
    """The filters of anti-aliased networks are buffers that are not in the state dict."""
    backbone = Backbone("timm/resnetblur18", ["layer1", "layer2"])
    twin = Backbone("timm/resnetblur18", ["layer1", "layer2"], weights=backbone.body.state_dict())
    images = torch.rand(1, 3, 40, 40)
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(twin(images), backbone(images), strict=True))


class TestWeights:
    def test_pretrained_replaces_mean_and_std(self, monkeypatch):
        create, pretrained = timm.create_model, timm.create_model("test_resnet")
        monkeypatch.setattr(
            timm, "create_model", lambda *args, **more: pretrained if more.get("pretrained") else create(*args, **more)
        )
        state = pretrained.state_dict()
        backbone = Backbone(NAME, None, "pretrained", mean=IMAGENET_MEAN)
        assert backbone.mean.flatten().tolist() == backbone.std.flatten().tolist() == [0.5] * 3
        assert torch.equal(backbone.body.get_parameter("conv1.0.weight"), state["conv1.0.weight"])

    def test_file_uses_given_mean_and_std(self, tmp_path):
        path = tmp_path / "weights.pth"
        state = timm.create_model("test_resnet").state_dict()
        torch.save(state, path)
        assert random(NAME, weights=str(path)).mean.flatten().tolist() == [0.5] * 3
        backbone = Backbone(NAME, None, str(path), mean=(0.1, 0.2, 0.3))
        assert backbone.mean.flatten().tolist() == pytest.approx([0.1, 0.2, 0.3])
        assert torch.equal(backbone.body.get_parameter("conv1.0.weight"), state["conv1.0.weight"])

    def test_failed_download_raises(self, monkeypatch):
        """The backbone does not fall back to random weights."""
        create = timm.create_model

        def fail(*args, pretrained=False, **more):
            if pretrained:
                raise OSError("no route to host")
            return create(*args, **more)

        monkeypatch.setattr(timm, "create_model", fail)
        with pytest.raises(
            HypercolumnsError,
            match=r"^weights=pretrained .* \(no route to host\); bring model\.safetensors .*/test_resnet\.r160_in1k",
        ):
            Backbone(NAME, None, "pretrained")

    def test_offline_setting_is_named(self, monkeypatch, tmp_path):
        """With this variable the Hugging Face Hub downloads nothing, and its cache is empty here."""
        monkeypatch.setenv("HF_HUB_OFFLINE", "1")
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
        message = r"\(HF_HUB_OFFLINE=1 is set, so nothing is downloaded\); bring model\.safetensors"
        with pytest.raises(HypercolumnsError, match=message):
            Backbone(NAME, None, "pretrained")

    def test_unreachable_hub_is_not_tried_again(self, monkeypatch, tmp_path, capfd):
        """Nothing listens on port 9. The Hub would try each file for half a minute, and log each attempt."""
        for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
            monkeypatch.delenv(name)
        monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
        monkeypatch.setattr("time.sleep", lambda seconds: pytest.fail("a retry"))
        message = (
            r"downloaded \(no connection to 127\.0\.0\.1: [^;]*refused\); bring .* in place of pretrained, or null"
        )
        with pytest.raises(HypercolumnsError, match=message):
            Backbone(NAME, None, "pretrained")
        assert "thrown while" not in "".join(capfd.readouterr())

    def test_torchvision_weights_raise(self):
        with pytest.raises(
            HypercolumnsError, match=r"IMAGENET1K_V1 is neither a file or folder nor .* pretrained, or null"
        ):
            random(NAME, weights="IMAGENET1K_V1")


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("resnet81", "^network=timm/resnet81 is not one of timm's .* did you mean resnet18 or"),
        ("hf-hub:someone/something", "^network=timm/hf-hub:someone/something is not one of timm's"),
        (
            "resnet18.mine",
            "no weights with the tag mine; choose one of these models: resnet18, resnet18.a1_in1k",
        ),
        (
            "levit_128s",
            r"^network=timm/levit_128s can't be .*: the centres .* \(a map depends on the image by attention",
        ),
    ],
)
def test_unusable_models_raise(model, message):
    with pytest.raises(HypercolumnsError, match=message):
        random(f"timm/{model}")


@pytest.mark.slow
def test_stages_do_not_import_timm():
    code = "import sys, train, predict, hypercolumns.stages; assert 'timm' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
