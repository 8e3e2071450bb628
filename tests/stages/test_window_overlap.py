"""What predict.py and stage evaluate say about a model with overlapping windows."""

import re

import pytest
import torch
from helpers.networks import build
from helpers.small_runs import config, run

from hypercolumns.data import shapes
from hypercolumns.models.classifiers import MLPClassifier
from hypercolumns.models.extractor import HypercolumnExtractor
from hypercolumns.models.segmenter import Segmenter
from hypercolumns.stages.predict import predict

LINE = r"before they are blended, overlapping windows agree on (\d+\.\d) % of (\d+) pixels that they share"


@pytest.mark.slow
def test_predict_and_evaluate_print_the_agreement(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    data = shapes("data", train_images=40, val_images=3)
    torch.manual_seed(0)
    extractor = HypercolumnExtractor(build("timm/test_vit", ["blocks.1"]), max_window_pixels=64 * 64, window_overlap=16)
    classifier = MLPClassifier(extractor.backbone.channels, len(data.classes), 8)
    Segmenter(extractor, classifier, data.classes, data.palette).save("model.safetensors")
    (tmp_path / "photos").mkdir()
    for pair in data.splits["val"]:
        (tmp_path / "photos" / pair.image.name).symlink_to(pair.image.absolute())
    predict(config("predict", "model=model.safetensors", "images=photos", "out=out"))
    predicted = re.search(LINE, capsys.readouterr().out.replace("\n", " "))
    run("evaluate", "model=model.safetensors")
    evaluated = re.search(LINE, capsys.readouterr().out.replace("\n", " "))
    assert predicted.groups() == evaluated.groups()
    assert int(predicted[2]) > 1000
    predict(config("predict", "model=model.safetensors", "images=photos", "out=out"))
    assert not re.search(LINE, capsys.readouterr().out.replace("\n", " "))
