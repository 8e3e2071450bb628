"""Errors of classes begin with the name of their argument; users see the full name of the setting."""

import pytest
from helpers.small_runs import config

from hypercolumns.errors import HypercolumnsError
from hypercolumns.settings.inference import test_time_augmentation as read_tta
from hypercolumns.settings.model import backbone, classifier


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["cnn.weights=null", "cnn.trainable=9"], r"^cnn\.trainable=9 must be a number of taps"),
        (["cnn.weights=null", "cnn.taps=[nowhere]"], r"^cnn\.taps names nowhere, which is not a module of"),
        (["cnn.weights=nowhere"], r"^cnn\.weights=nowhere is neither a file or folder nor"),
        (["cnn.weights='~no.such.user/x'"], r"^cnn\.weights=~no.such.user/x: the user after ~ does not exist"),
        (["cnn.weights=null", "cnn.network=nothing"], r"^cnn\.network=nothing is not known"),
        (["cnn.scales=[]"], r"^cnn\.scales=\[\] must be a list"),
        (
            ["cnn=timm", "cnn.model=test_vit_relpos", "cnn.weights=null", "cnn.scales=[1,2]"],
            r"^cnn\.scales=\[2\.0, 1\.0\] does not fit .*; set cnn\.scales=\[1\]$",
        ),
        (["cnn=timm", "cnn.model=resnet81"], r"^cnn\.model=resnet81 is not one of timm's"),
    ],
)
def test_backbone_errors_name_cnn_settings(overrides, message):
    with pytest.raises(HypercolumnsError, match=message):
        backbone(config("train", *overrides))


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["classifier.hidden=0"], r"^classifier\.hidden=0 must be a whole number of at least 1"),
        (["classifier=grid", "classifier.size=0"], r"^classifier\.size=0 must be a whole number of at least 1"),
        (["classifier.dropout=2"], r"^classifier\.dropout=2 must be a number from 0 to 1"),
    ],
)
def test_classifier_errors_name_settings(overrides, message):
    with pytest.raises(HypercolumnsError, match=message):
        classifier(config("train", *overrides), 3, 2)


@pytest.mark.parametrize(
    ("override", "message"), [("tta.scales=[]", r"^tta\.scales=\[\] must be"), ("tta.flip=1", r"^tta\.flip=1 must be")]
)
def test_tta_errors_name_settings(override, message):
    with pytest.raises(HypercolumnsError, match=message):
        read_tta(config("train", "stage=evaluate", override))
