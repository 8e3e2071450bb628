"""What the settings of a network leave open is printed or refused when the backbone is built."""

import re

import pytest
from helpers.small_runs import config

from hypercolumns.errors import HypercolumnsError
from hypercolumns.models.backbones import backbone as backbone_module
from hypercolumns.models.backbones import networks
from hypercolumns.models.classifiers import MLPClassifier
from hypercolumns.models.extractor import HypercolumnExtractor
from hypercolumns.models.segmenter import Segmenter
from hypercolumns.settings.inference import configure_inference
from hypercolumns.settings.model import backbone


def of_timm(model, *overrides):
    return config("train", "stage=train", "cnn=timm", f"cnn.model={model}", "cnn.weights=null", *overrides)


def test_crops_of_one_size_are_refused():
    with pytest.raises(
        HypercolumnsError, match=r"takes images of 160x160 only: .* set resize=\[160,160\] augment.crop"
    ):
        backbone(of_timm("test_vit_relpos"))


def test_one_size_is_printed(capsys):
    backbone(of_timm("test_vit_relpos", "augment.crop=null", "augment.scale=null"))
    assert "timm/test_vit_relpos takes images of 160x160 only, so all are resized" in capsys.readouterr().out


def test_large_multiple_is_printed(capsys):
    backbone(of_timm("test_maxvit"))
    assert "takes sides that are multiples of 160 pixels" in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize(("alignment", "told"), [("exact", True), ("half_pixel", False)])
def test_spread_of_paths_is_printed_for_exact(capsys, alignment, told):
    """In test_resnet, a block's path and its shortcut are 14 pixels apart at stride 32, 6 at 16 and 2 at 8."""
    backbone(of_timm("test_resnet", f"alignment={alignment}"))
    printed = " ".join(capsys.readouterr().out.split())
    assert ("paths that join in tap layer4 are centred up to 14 pixels apart" in printed) == told


@pytest.mark.parametrize("overrides", [["cnn=rgb"], ["cnn=timm", "cnn.model=test_vit", "cnn.weights=null"]])
def test_recommended_networks_are_settings(monkeypatch, overrides):
    def refuse(key, *_):
        raise networks.unusable(key.network, "it is odd")

    monkeypatch.setattr(backbone_module, "build_tapped", refuse)
    with pytest.raises(HypercolumnsError, match=r"it is odd; choose another network, such as") as caught:
        backbone(config("train", *overrides))
    message = str(caught.value)
    assert message.startswith(("cnn.network=rgb can't", "cnn.model=test_vit can't"))
    found = re.search(r"such as (cnn=\w+), (cnn=\w+) or (cnn=timm) (cnn\.model=\w+)$", message).groups()
    for recommended in ([found[0]], [found[1]], found[2:]):  # the command line takes them
        assert config("train", *recommended).cnn.network


def test_compile_of_blocks_is_refused():
    network = backbone(of_timm("test_vit"))
    segmenter = Segmenter(HypercolumnExtractor(network), MLPClassifier(network.channels, 2, hidden=4), ["a", "b"])
    with pytest.raises(HypercolumnsError, match="compile=true has no effect on timm/test_vit"):
        configure_inference(segmenter, config("predict", "compile=true", "model=m", "images=i"))
