"""The files that predict.py writes; most tests run the command in this process."""

import csv
import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from helpers.paths import ROOT
from helpers.predictions import MODEL, SIZES, files, predict, predicted, read
from PIL import Image

from hypercolumns import HypercolumnsError, SegmentationPredictor, Segmenter
from hypercolumns.models.backbones import Backbone
from hypercolumns.models.classifiers import MLPClassifier
from hypercolumns.models.engine import AdaptiveSettings
from hypercolumns.models.extractor import HypercolumnExtractor
from hypercolumns.models.tta import TestTimeAugmentation


def test_each_image_gets_mask_and_overlay(photos, place, segmenter):
    assert predict("images=photos", "out=out") == 0
    names = ["a", "deep/b c", "one", "x.jpg", "x.png"]
    outputs = [f"{name}{suffix}" for name in names for suffix in (".png", ".overlay.jpg")]
    assert files(place / "out") == sorted([*outputs, "predictions.jsonl", "class_fractions.csv"])
    for name, size in SIZES.items():
        stem = name if name.startswith("x") else name.rpartition(".")[0]
        with Image.open(place / "out" / f"{stem}.png") as mask:
            assert mask.mode == "P"
            assert mask.getpalette()[:6] == [0, 0, 0, 128, 0, 0]
            assert np.array(mask).shape == size
            assert (np.array(mask) == predicted(segmenter, photos / name).labels).all()


def test_every_output_matches_the_prediction(photos, place, segmenter):
    names = ("color_mask", "confidence", "entropy", "probabilities")
    predict("images=photos/a.jpg", "out=out", "legend=false", *(f"outputs.{name}=true" for name in names))
    out = place / "out"
    labels = read(out / "a.png")
    probabilities = predicted(segmenter, photos / "a.jpg", detail="probabilities").probabilities
    assert (read(out / "a.color_mask.png") == np.array(segmenter.palette, np.uint8)[labels]).all()
    assert np.abs(read(out / "a.confidence.png") / 255 - probabilities.max(0)).max() < 0.004
    entropy = -(probabilities * np.log(probabilities)).sum(0) / np.log(3)
    assert np.abs(read(out / "a.entropy.png") / 255 - entropy).max() < 0.004
    with np.load(out / "a.probabilities.npz") as written:
        assert written["classes"].tolist() == list(segmenter.classes)
        assert written["probabilities"].dtype == np.float16
        assert np.abs(written["probabilities"] - probabilities).max() < 1e-3
    with open(out / "class_fractions.csv", newline="") as file:
        (row,) = csv.DictReader(file)
    assert row["image"] == "a"
    assert int(row["pixels"]) == 30 * 44
    for index, name in enumerate(segmenter.classes):
        assert float(row[name]) == pytest.approx((labels == index).mean(), abs=1e-6)


def test_outputs_can_be_left_out(photos, place):
    predict("images=photos/a.jpg", "out=out", "outputs.mask=false", "outputs.class_fractions=false")
    assert files(place / "out") == ["a.overlay.jpg", "predictions.jsonl"]
    with pytest.raises(HypercolumnsError, match=r"no output is selected; set one of outputs\.mask, "):
        predict("images=photos/a.jpg", *(f"outputs.{name}=false" for name in ("mask", "overlay", "class_fractions")))


def test_overlay_with_and_without_legend(photos, place, segmenter):
    predict("images=photos/a.jpg", "out=out", "opacity=1")
    overlay = read(place / "out" / "a.overlay.jpg").astype(int)
    colours = np.array(segmenter.palette)[predicted(segmenter, photos / "a.jpg").labels]
    assert np.abs(overlay[:30, :44] - colours).mean() < 30  # JPEG is lossy
    assert overlay.shape[0] > 30
    assert overlay.shape[1] == 160
    predict("images=photos/a.jpg", "out=plain", "opacity=0", "legend=false")
    plain = read(place / "plain" / "a.overlay.jpg").astype(int)
    assert plain.shape == (30, 44, 3)
    assert np.abs(plain - read(photos / "a.jpg")).mean() < 30


def test_exif_orientation_is_respected(place, segmenter):
    pixels = np.random.default_rng(1).integers(0, 255, (20, 31, 3), np.uint8)
    exif = Image.Exif()
    exif[0x0112] = 6  # rotated by 90 degrees
    Image.fromarray(pixels).save(place / "turned.png", exif=exif)
    predict("images=turned.png", "out=out")
    upright = np.rot90(pixels, -1)
    assert (read(place / "out" / "turned.png") == predicted(segmenter, np.ascontiguousarray(upright)).labels).all()
    with Image.open(place / "turned.png") as image:
        assert predicted(segmenter, image).labels.shape == (31, 20)


@pytest.mark.parametrize("workers", [0, 3])
def test_batches_and_workers_keep_the_labels(photos, place, workers):
    predict("images=photos", "out=one", "num_workers=0")
    for name in ("e.png", "f.png", "g.png"):  # equal sizes fill a batch; they come after other sizes
        (photos / name).write_bytes((photos / "deep" / "b c.png").read_bytes())
    predict("images=photos", "out=many", "batch_size=2", f"num_workers={workers}", "outputs.confidence=true")
    for name in files(place / "one"):
        if name.endswith(".png"):
            assert (read(place / "one" / name) == read(place / "many" / name)).mean() > 0.999
    for name in ("e.png", "f.png", "g.png"):
        assert (read(place / "many" / name) == read(place / "one" / "deep" / "b c.png")).mean() > 0.999


def test_cheaper_settings_give_nearly_same_labels(photos, place):
    def labels(*overrides):
        predict("images=photos/a.jpg", "out=out", "overwrite=true", *overrides)
        return read(place / "out" / "a.png")

    plain = labels()
    assert (labels("max_window_pixels=400") == plain).mean() > 0.99
    assert (labels("adaptive=true", "adaptive_stride=4", "adaptive_margin=10") == plain).mean() > 0.99
    assert (labels("precision=bf16") == plain).mean() > 0.9
    assert (labels("outputs.confidence=true") == plain).mean() > 0.999


def test_tta_and_adaptive_match_the_predictor(photos, place, segmenter):
    predict("images=photos/a.jpg", "out=flipped", "tta.flip=true", "tta.scales=[1,1.5]")
    views = TestTimeAugmentation((1.0, 1.5), flip=True)
    assert (read(place / "flipped" / "a.png") == predicted(segmenter, photos / "a.jpg", tta=views).labels).all()
    predict("images=photos/a.jpg", "out=sure", "tta.flip=true", "tta.scales=[1,1.5]", "outputs.probabilities=true")
    with np.load(place / "sure" / "a.probabilities.npz") as written:
        expected = predicted(segmenter, photos / "a.jpg", tta=views, detail="probabilities").probabilities
        assert np.abs(written["probabilities"] - expected).max() < 1e-3
    predict("images=photos/a.jpg", "out=adaptive", "adaptive=true")
    assert (
        read(place / "adaptive" / "a.png") == predicted(segmenter, photos / "a.jpg", AdaptiveSettings()).labels
    ).all()


def test_masks_give_metrics(photos, place):
    predict("images=photos/a.jpg", "out=truth")
    for _ in range(2):  # the second time, the masks exist and are scored as they are
        predict("images=photos/a.jpg", "out=out", "masks=truth")
        figures = json.loads((place / "out" / "metrics.json").read_text())
        assert figures["miou"] == 1.0
        assert figures["pixels"] == 30 * 44
        (place / "out" / "metrics.json").unlink()
    Image.fromarray(np.zeros((3, 3), np.uint8)).save(place / "truth" / "a.png")
    assert predict("images=photos/a.jpg", "out=out", "masks=truth") == 1


@pytest.mark.parametrize("suffix", [".tif", ".bmp"])
def test_masks_may_have_other_suffixes(photos, place, suffix):
    predict("images=photos/a.jpg", "out=first")
    labels = read(place / "first" / "a.png")
    (place / "truth").mkdir()
    Image.fromarray(labels).save(place / "truth" / f"a{suffix}")
    assert predict("images=photos/a.jpg", "out=out", "masks=truth") == 0
    assert json.loads((place / "out" / "metrics.json").read_text())["miou"] == 1.0


def test_model_in_run_folder_is_loaded(place, photos, segmenter):
    (place / "run").mkdir()
    segmenter.save(place / "run" / "model.safetensors")
    labels = SegmentationPredictor.load(place / "run").predict(photos / "a.jpg").labels
    assert (labels == predicted(segmenter, photos / "a.jpg").labels).all()


def test_export_writes_model_once(place, capsys):
    segmenter = Segmenter(
        HypercolumnExtractor(Backbone("rgb", ["image"])), MLPClassifier(3, 3, hidden=8), ["ground", "cat", "dog"]
    ).eval()
    segmenter.save(place / "model.safetensors")
    predict("export=torch", "out=served", "export_output=logits")
    assert "100.00% of the labels agree with those of the original model" in capsys.readouterr().out
    with (place / "served" / "model.pt2").open("rb") as file:
        module = torch.export.load(file).module()
    image = torch.randint(0, 256, (3, 31, 52), dtype=torch.uint8)
    assert torch.allclose(module(image[None])[0], SegmentationPredictor(segmenter).logits(image), atol=1e-4)
    with pytest.raises(HypercolumnsError, match=r"served/model\.pt2 exists already; choose another out="):
        predict("export=torch", "out=served")
    with pytest.raises(HypercolumnsError, match="export=tf is not a known format; choose one of onnx, torch"):
        predict("export=tf")


def test_prediction_imports_no_training_library(photos):
    """Run the command in a new process; it predicts an image and scores it against a mask."""
    predict("images=photos/a.jpg", "out=truth")
    script = f"""
import runpy, sys
sys.argv = ["predict.py", "{MODEL}", "images=photos/a.jpg", "out=out", "masks=truth"]
runpy.run_path(r"{ROOT / "predict.py"}", run_name="__main__")
loaded = {{name.partition(".")[0] for name in sys.modules}}
print("loaded:", *sorted(loaded & {{"pytorch_lightning", "lightning_fabric", "torchmetrics", "tensorboard", "torch"}}))
print("stages:", *sorted(name for name in sys.modules if name.startswith("hypercolumns.stages.")))
"""
    run = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)
    assert "1 images against truth" in run.stdout
    assert "loaded: torch\n" in run.stdout
    assert "stages: hypercolumns.stages.predict\n" in run.stdout
