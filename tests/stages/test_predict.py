"""Prediction as predict.py does it, in this process."""

import csv
import json
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from conftest import ROOT
from PIL import Image
from pycocotools import mask as coco
from small_runs import config

from hypercolumns import HypercolumnsError, SegmentationPredictor, Segmenter
from hypercolumns.io.images import MAX_PIXELS_VARIABLE
from hypercolumns.models.backbones import Backbone
from hypercolumns.models.classifiers import MLPClassifier
from hypercolumns.models.engine import AdaptiveSettings
from hypercolumns.models.extractor import HypercolumnExtractor
from hypercolumns.models.tta import TestTimeAugmentation
from hypercolumns.prediction import outputs as outputs_module
from hypercolumns.stages.predict import predict as predict_stage

MODEL = "model=model.safetensors"
SIZES = {"a.jpg": (30, 44), "deep/b c.png": (25, 33), "x.jpg": (9, 9), "x.png": (8, 8), "one.png": (1, 1)}


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch, segmenter):
    monkeypatch.chdir(tmp_path)
    segmenter.save(tmp_path / "model.safetensors")
    return tmp_path


@pytest.fixture
def photos(place):
    random = np.random.default_rng(0)
    for name, size in SIZES.items():
        (place / "photos" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(random.integers(0, 255, (*size, 3), np.uint8)).save(place / "photos" / name)
    return place / "photos"


def predict(*overrides):
    return predict_stage(config("predict", MODEL, *overrides))


def read(path):
    with Image.open(path) as image:
        return np.array(image)


def files(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def predicted(segmenter, image, *how, **more):
    return SegmentationPredictor(segmenter).predict(image, *how, **more)


def test_a_folder(photos, place, segmenter):
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


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # of pycocotools
def test_every_output(photos, place, segmenter):
    names = ("color_mask", "confidence", "entropy", "probabilities", "coco")
    predict("images=photos/a.jpg", "out=out", "legend=false", *(f"outputs.{name}=true" for name in names))
    out = place / "out"
    labels = read(out / "a.png")
    probabilities = predicted(segmenter, photos / "a.jpg", detail="probabilities").probabilities
    assert (read(out / "a.color_mask.png") == np.array(segmenter.palette, np.uint8)[labels]).all()
    assert np.abs(read(out / "a.confidence.png") / 255 - probabilities.max(0)).max() < 0.004
    entropy = -(probabilities * np.log(probabilities)).sum(0) / np.log(3)
    assert np.abs(read(out / "a.entropy.png") / 255 - entropy).max() < 0.004
    with np.load(out / "a.probabilities.npz") as found:
        assert found["classes"].tolist() == list(segmenter.classes)
        assert found["probabilities"].dtype == np.float16
        assert np.abs(found["probabilities"] - probabilities).max() < 1e-3
    segments = json.loads((out / "a.coco.json").read_text())
    assert [one["category"] for one in segments] == [segmenter.classes[index] for index in np.unique(labels)]
    for one in segments:
        own = labels == one["category_id"]
        assert (coco.decode(one["segmentation"]) == own).all()
        rows, columns = own.any(1).nonzero()[0], own.any(0).nonzero()[0]
        box = [columns[0], rows[0], columns[-1] - columns[0] + 1, rows[-1] - rows[0] + 1]
        assert one["bbox"] == box
        assert one["area"] == own.sum()
        assert one["image_id"] == "a"
    with open(out / "class_fractions.csv", newline="") as file:
        (row,) = csv.DictReader(file)
    assert row["image"] == "a"
    assert int(row["pixels"]) == 30 * 44
    for index, name in enumerate(segmenter.classes):
        assert float(row[name]) == pytest.approx((labels == index).mean(), abs=1e-6)


def test_outputs_can_be_left_out(photos, place):
    predict("images=photos/a.jpg", "out=out", "outputs.mask=false", "outputs.class_fractions=false")
    assert files(place / "out") == ["a.overlay.jpg", "predictions.jsonl"]
    with pytest.raises(HypercolumnsError, match=r"nothing is wanted: set one of outputs\.mask, "):
        predict("images=photos/a.jpg", *(f"outputs.{name}=false" for name in ("mask", "overlay", "class_fractions")))


def test_overlay_with_its_legend(photos, place, segmenter):
    predict("images=photos/a.jpg", "out=out", "opacity=1")
    overlay = read(place / "out" / "a.overlay.jpg").astype(int)
    colours = np.array(segmenter.palette)[predicted(segmenter, photos / "a.jpg").labels]
    assert np.abs(overlay[:30, :44] - colours).mean() < 30  # of a JPEG
    assert overlay.shape[0] > 30
    assert overlay.shape[1] == 160
    predict("images=photos/a.jpg", "out=plain", "opacity=0", "legend=false")
    plain = read(place / "plain" / "a.overlay.jpg").astype(int)
    assert plain.shape == (30, 44, 3)
    assert np.abs(plain - read(photos / "a.jpg")).mean() < 30


def test_a_second_run_does_what_is_missing(photos, place):
    predict("images=photos", "out=out")
    out = place / "out"
    made = {name: (out / name).stat().st_mtime_ns for name in files(out)}
    shares = (out / "class_fractions.csv").read_text()
    (out / "a.png").unlink()  # a file is gone
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(photos / "x.png")  # an image has changed
    lines = (out / "predictions.jsonl").read_text().splitlines(keepends=True)
    (out / "predictions.jsonl").write_text("".join([*lines[:-1], lines[-1][:40]]))  # the last line was cut off
    last = json.loads(lines[-1])["name"]
    assert last == "x.png"
    assert predict("images=photos", "out=out") == 0
    again = {name for name in made if (out / name).stat().st_mtime_ns != made[name]}
    assert again == {"a.png", "x.png.png", "x.png.overlay.jpg", "class_fractions.csv", "predictions.jsonl"}
    assert (out / "class_fractions.csv").read_text().splitlines()[:-1] == shares.splitlines()[:-1]
    assert predict("images=photos", "out=out", "overwrite=true") == 0
    assert all((out / name).stat().st_mtime_ns != made[name] for name in made)


def test_other_settings_are_not_mixed_with_what_is_there(photos, place):
    predict("images=photos/a.jpg", "out=out", "outputs.color_mask=true")
    with pytest.raises(HypercolumnsError, match=r"out=out holds predictions made otherwise \(tta .* there, .* now"):
        predict("images=photos/a.jpg", "out=out", "tta.flip=true")
    predict("images=photos/a.jpg", "out=out", "tta.flip=true", "overwrite=true")
    predict("images=photos/a.jpg", "out=out", "tta.flip=true", "outputs.color_mask=true")  # the old one does not count
    colours = np.array(Segmenter.load("model.safetensors").palette, np.uint8)[read(place / "out" / "a.png")]
    assert (read(place / "out" / "a.color_mask.png") == colours).all()


def test_another_look_makes_only_overlays_again(photos, place):
    predict("images=photos/a.jpg", "out=out")
    mask, overlay = ((place / "out" / name) for name in ("a.png", "a.overlay.jpg"))
    before = mask.stat().st_mtime_ns, overlay.read_bytes()
    predict("images=photos/a.jpg", "out=out", "opacity=0.2")
    assert mask.stat().st_mtime_ns == before[0]
    assert overlay.read_bytes() != before[1]


def test_images_of_one_name_are_not_mixed(photos, place):
    (place / "others").mkdir()
    (place / "others" / "a.jpg").write_bytes((photos / "a.jpg").read_bytes())
    predict("images=photos/a.jpg", "out=out")
    with pytest.raises(
        HypercolumnsError, match=r"holds what was predicted of .*photos/a\.jpg under the name a; choose"
    ):
        predict("images=others/a.jpg", "out=out")
    predict("images=others/a.jpg", "out=out", "overwrite=true")


def test_what_was_done_when_it_is_stopped_is_told(photos, place, monkeypatch):
    def stop(path, *rest):
        if "one" in str(path):
            raise KeyboardInterrupt
        mask.write(path, *rest)

    mask = outputs_module.OUTPUTS["mask"]
    monkeypatch.setitem(outputs_module.OUTPUTS, "mask", mask._replace(write=stop))
    with pytest.raises(KeyboardInterrupt):
        predict("images=photos", "out=out", "num_workers=0")
    assert [line.split(",")[0] for line in (place / "out/class_fractions.csv").read_text().splitlines()] == [
        "image",
        "a",
        "deep/b c",
    ]


def test_odd_images_among_others(place, segmenter):
    random = np.random.default_rng(0)
    pixels = random.integers(0, 255, (20, 31, 3), np.uint8)
    (place / "odd").mkdir()
    for mode in ("1", "L", "LA", "P", "RGBA", "CMYK"):
        Image.fromarray(pixels).convert(mode).save(place / "odd" / f"{mode}.tiff")
    Image.fromarray(pixels[:1]).save(place / "odd" / "wide [x], y=1.png")
    Image.fromarray(pixels[:, :1]).save(place / "odd" / "tall.png")
    exif = Image.Exif()
    exif[0x0112] = 1
    Image.fromarray(pixels).save(place / "odd" / "exif.jpg", exif=exif)
    damaged = (place / "odd" / "exif.jpg").read_bytes()
    start = damaged.index(b"Exif") + 6
    (place / "odd" / "exif.jpg").write_bytes(damaged[:start] + b"MM\0*\0\0\0" + damaged[start + 7 :])
    Image.fromarray(pixels).save(place / "odd" / f"{'l' * 240}.png")
    Image.fromarray(pixels).save(place / "odd" / f"{'x' * 250}.png")  # an output's name would be too long
    Image.fromarray(random.integers(0, 2**16, (5, 5), np.uint16)).save(place / "odd" / "deep.png")
    with open(os.fsencode(place / "odd") + b"/\xff.png", "wb") as file:
        Image.fromarray(pixels).save(file, "PNG")
    assert predict("images=odd", "out=out") == 2
    names = {name.partition(".")[0] for name in files(place / "out") if name.endswith(".overlay.jpg")}
    assert names == {"1", "L", "LA", "P", "RGBA", "CMYK", "wide [x], y=1", "tall", "exif", "l" * 240, "\udcff"}
    assert (read(place / "out" / "RGBA.png") == predicted(segmenter, pixels).labels).all()
    assert len((place / "out" / "class_fractions.csv").read_bytes().splitlines()) == 12


def test_a_bad_image_does_not_stop_the_others(photos, place, capsys):
    (photos / "b.jpg").write_text("no image")
    (photos / "c.png").write_bytes((photos / "x.png").read_bytes()[:60])
    assert predict("images=photos", "out=out") == 2
    printed = capsys.readouterr().out
    assert "2 images failed:" in printed
    assert "photos/b.jpg is not an image that can be read" in printed
    assert "photos/c.png can't be decoded" in printed
    assert sum(name.endswith(".overlay.jpg") for name in files(place / "out")) == len(SIZES)
    (photos / "b.jpg").unlink()
    (photos / "c.png").unlink()
    assert predict("images=photos", "out=out") == 0


def test_images_are_refused_as_the_other_stages_refuse_them(place, capsys, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", Image.MAX_IMAGE_PIXELS)  # so that it is as before, afterwards
    monkeypatch.setenv(MAX_PIXELS_VARIABLE, "0")
    (place / "odd").mkdir()
    pixels = np.random.default_rng(0).integers(0, 255, (30, 30, 3), np.uint8)
    Image.fromarray(pixels).save("odd/cut.jpg")
    (place / "odd" / "cut.jpg").write_bytes((place / "odd" / "cut.jpg").read_bytes()[:-100])
    (place / "odd" / "empty.png").touch()
    Image.fromarray(pixels).save("odd/gif.png", format="GIF")
    Image.fromarray(pixels[..., 0].astype(np.uint16)).save("odd/grey16.png")
    Image.new("RGB", (40, 26)).save("odd/large.png")
    (place / "odd" / "line\nbreak [red].png").write_text("<html>")
    Image.fromarray(pixels).save("odd/good.jpg", format="PNG")
    assert predict("images=odd", "out=out", "max_pixels=1000") == 6
    failed = capsys.readouterr().out.partition("6 images failed:\n")[2].splitlines()[:6]
    for line, message in zip(
        failed,
        [
            "  odd/cut.jpg can't be decoded (image file is truncated",
            "  odd/empty.png is empty; replace it",
            "  odd/gif.png is not an image that can be read (JPEG, PNG, BMP, TIFF, WEBP); ",
            "  odd/grey16.png is of a kind that is not read (I;16), ",
            "  odd/large.png claims 40x26 pixels, more than max_pixels=1000: ",
            "  odd/line\\nbreak [red].png is not an image that can be read",
        ],
        strict=True,
    ):
        assert line.startswith(message)
    assert files(place / "out") == ["class_fractions.csv", "good.overlay.jpg", "good.png", "predictions.jsonl"]


def test_what_cant_be_written_stops_all(photos, place, monkeypatch):
    def fail(path, *rest):
        if "deep" in str(path):
            raise HypercolumnsError(f"{path} can't be written (no space left)")
        mask.write(path, *rest)

    mask = outputs_module.OUTPUTS["mask"]
    monkeypatch.setitem(outputs_module.OUTPUTS, "mask", mask._replace(write=fail))
    with pytest.raises(HypercolumnsError, match="no space left"):
        predict("images=photos", "out=out")
    monkeypatch.undo()
    os.chdir(place)
    before = (place / "out" / "a.png").stat().st_mtime_ns
    assert predict("images=photos", "out=out") == 0
    assert (place / "out" / "a.png").stat().st_mtime_ns == before


def test_orientation_is_respected(place, segmenter):
    pixels = np.random.default_rng(1).integers(0, 255, (20, 31, 3), np.uint8)
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by a quarter
    Image.fromarray(pixels).save(place / "turned.png", exif=exif)
    predict("images=turned.png", "out=out")
    upright = np.rot90(pixels, -1)
    assert (read(place / "out" / "turned.png") == predicted(segmenter, np.ascontiguousarray(upright)).labels).all()
    with Image.open(place / "turned.png") as image:
        assert predicted(segmenter, image).labels.shape == (31, 20)


@pytest.mark.parametrize("workers", [0, 3])
def test_batches_and_workers_change_nothing(photos, place, workers):
    predict("images=photos", "out=one", "num_workers=0")
    for name in ("e.png", "f.png", "g.png"):  # of one size, after others
        (photos / name).write_bytes((photos / "deep" / "b c.png").read_bytes())
    predict("images=photos", "out=many", "batch_size=2", f"num_workers={workers}", "outputs.confidence=true")
    for name in files(place / "one"):
        if name.endswith(".png"):
            assert (read(place / "one" / name) == read(place / "many" / name)).mean() > 0.999
    for name in ("e.png", "f.png", "g.png"):
        assert (read(place / "many" / name) == read(place / "one" / "deep" / "b c.png")).mean() > 0.999


def test_settings_that_save_time_or_memory_give_nearly_the_same(photos, place):
    def labels(*overrides):
        predict("images=photos/a.jpg", "out=out", "overwrite=true", *overrides)
        return read(place / "out" / "a.png")

    plain = labels()
    assert (labels("max_window_pixels=400") == plain).mean() > 0.99
    assert (labels("adaptive=true", "adaptive_stride=4", "adaptive_margin=10") == plain).mean() > 0.99
    assert (labels("precision=bf16") == plain).mean() > 0.9
    assert (labels("outputs.confidence=true") == plain).mean() > 0.999


def test_views_and_adaptive_are_those_of_the_segmenter(photos, place, segmenter):
    predict("images=photos/a.jpg", "out=flipped", "tta.flip=true", "tta.scales=[1,1.5]")
    views = TestTimeAugmentation((1.0, 1.5), flip=True)
    assert (read(place / "flipped" / "a.png") == predicted(segmenter, photos / "a.jpg", tta=views).labels).all()
    predict("images=photos/a.jpg", "out=sure", "tta.flip=true", "tta.scales=[1,1.5]", "outputs.probabilities=true")
    with np.load(place / "sure" / "a.probabilities.npz") as found:
        expected = predicted(segmenter, photos / "a.jpg", tta=views, detail="probabilities").probabilities
        assert np.abs(found["probabilities"] - expected).max() < 1e-3
    predict("images=photos/a.jpg", "out=adaptive", "adaptive=true")
    assert (
        read(place / "adaptive" / "a.png") == predicted(segmenter, photos / "a.jpg", AdaptiveSettings()).labels
    ).all()


def test_images_are_never_overwritten(photos):
    before = (photos / "x.png").read_bytes()
    with pytest.raises(HypercolumnsError, match=r"out=photos would overwrite the image .*x\.png"):
        predict("images=photos/x.png", "out=photos", "overwrite=true")
    assert (photos / "x.png").read_bytes() == before


def test_originals_beside_their_outputs_are_not_replaced(photos, place):
    predict("images=photos/a.jpg", "out=photos")
    before = (photos / "x.png").read_bytes()
    with pytest.raises(HypercolumnsError, match=r"photos/x\.png is there, and predictions\.jsonl does not list it"):
        predict("images=photos/x.jpg", "out=photos")
    assert (photos / "x.png").read_bytes() == before
    assert predict("images='photos/a*'", "out=photos") == 0  # of which two are outputs
    assert len((photos / "class_fractions.csv").read_text().splitlines()) == 2


@pytest.mark.parametrize(
    ("name", "other"), [("class_fractions.csv", "outputs.class_fractions=true"), ("metrics.json", "masks=truth")]
)
def test_tables_of_others_are_not_replaced(photos, place, name, other):
    predict("images=photos/a.jpg", "out=truth")
    (place / "mine").mkdir()
    (place / "mine" / name).write_text("[1]")
    for _ in range(2):
        with pytest.raises(HypercolumnsError, match=f"mine/{name} would be replaced; choose another out="):
            predict("images=photos/a.jpg", "out=mine", other)
        assert (place / "mine" / name).read_text() == "[1]"


def test_true_masks_are_not_replaced(photos, place):
    predict("images=photos/a.jpg", "out=truth")
    with pytest.raises(HypercolumnsError, match=r"out=truth would overwrite the image .*truth/a\.png"):
        predict("images=photos/a.jpg", "out=truth", "masks=truth", "overwrite=true")


def test_an_image_that_has_gone_is_told(photos, place, capsys):
    (place / "list.txt").write_text("photos/a.jpg\nphotos/x.jpg\n")
    predict("images=list.txt", "out=out")
    (photos / "x.jpg").unlink()
    assert predict("images=list.txt", "out=out") == 1
    assert "photos/x.jpg does not exist" in capsys.readouterr().out


def test_other_peoples_files_are_not_replaced(photos, place):
    (place / "truth").mkdir()
    (place / "truth" / "a.png").write_bytes(b"mine")
    with pytest.raises(HypercolumnsError, match=r"truth/a\.png is there, and predictions\.jsonl does not list it"):
        predict("images=photos/a.jpg", "out=truth")
    assert (place / "truth" / "a.png").read_bytes() == b"mine"


def test_scored_against_masks(photos, place):
    predict("images=photos/a.jpg", "out=truth")
    for _ in range(2):  # the second time from the masks that are there
        predict("images=photos/a.jpg", "out=out", "masks=truth")
        figures = json.loads((place / "out" / "metrics.json").read_text())
        assert figures["miou"] == 1.0
        assert figures["pixels"] == 30 * 44
        (place / "out" / "metrics.json").unlink()
    Image.fromarray(np.zeros((3, 3), np.uint8)).save(place / "truth" / "a.png")
    assert predict("images=photos/a.jpg", "out=out", "masks=truth") == 1


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("images=", "images= must be a path"),
        ("out=", "out= must be a path"),
        ("images=[a.jpg,b.jpg]", r"images=\['a\.jpg', 'b\.jpg'\] must be a path; several go on the lines of a \.txt"),
        ("images=nothing", "images=nothing is neither an image, nor a folder"),
        ("masks=nowhere", r"masks=nowhere is not a folder; name that of the true masks, or leave out masks"),
        ("masks=photos", r"masks=photos lacks 1 masks, such as a\.png"),
        ("device=abacus", "device=abacus can't be used"),
        ("device=meta", "device=meta holds no values; try device=auto"),
        ("model=none", "model=none is not a file"),
        ("model=photos", r"model=photos is a folder without a model\.safetensors"),
        ("precision=64", "precision=64 must be auto, 32 or bf16"),
        ("max_window_pixels=0", "max_window_pixels=0 must be a whole number of at least 1"),
        ("adaptive=yes", "adaptive=yes must be true or false"),
        ("adaptive_stride=5", "adaptive_stride=5 must be a power of two"),
        ("compile=maybe", "compile=maybe must be true or false"),
        ("outputs.mask=some", r"outputs\.mask=some must be true or false"),
        ("opacity=2", "opacity=2 must be a number from 0 to 1"),
        ("batch_size=0", "batch_size=0 must be a whole number of at least 1"),
        ("frame_stride=0", "frame_stride=0 must be a whole number of at least 1"),
    ],
)
def test_wrong_settings(photos, override, message):
    with pytest.raises(HypercolumnsError, match=message):
        predict("images=photos/a.jpg", override)


def test_no_masks_can_not_be_compared(photos):
    with pytest.raises(HypercolumnsError, match=r"masks= compares them with the masks .*; leave outputs\.mask=true"):
        predict("images=photos/a.jpg", "masks=photos", "outputs.mask=false")


@pytest.mark.parametrize("other", ["outputs.entropy=true", "tta.flip=true"])
def test_adaptive_knows_no_certainty(photos, other):
    with pytest.raises(HypercolumnsError, match="adaptive=true classifies some pixels only"):
        predict("images=photos/a.jpg", "adaptive=true", other)


def test_packages_of_extras_are_asked_for(photos, place, monkeypatch):
    (place / "clip.mp4").touch()
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(HypercolumnsError, match=r"outputs\.coco=true needs pycocotools; install it with: uv sync"):
        predict("images=photos/a.jpg", "outputs.coco=true")
    with pytest.raises(HypercolumnsError, match=r"images=clip\.mp4 needs av; install it with: uv sync --extra video"):
        predict("images=clip.mp4")


def test_the_model_of_a_folder_is_found(place, photos, segmenter):
    (place / "run").mkdir()
    segmenter.save(place / "run" / "model.safetensors")
    found = SegmentationPredictor.load(place / "run").predict(photos / "a.jpg").labels
    assert (found == predicted(segmenter, photos / "a.jpg").labels).all()


def test_the_model_is_exported(place, capsys):
    segmenter = Segmenter(
        HypercolumnExtractor(Backbone("rgb", ["image"])), MLPClassifier(3, 3, hidden=8), ["ground", "cat", "dog"]
    ).eval()
    segmenter.save(place / "model.safetensors")
    predict("export=torch", "out=served", "export_output=logits")
    assert "100.00% of the labels are the model's own" in capsys.readouterr().out
    with (place / "served" / "model.pt2").open("rb") as file:
        module = torch.export.load(file).module()
    image = torch.randint(0, 256, (3, 31, 52), dtype=torch.uint8)
    assert torch.allclose(module(image[None])[0], SegmentationPredictor(segmenter).logits(image), atol=1e-4)
    with pytest.raises(HypercolumnsError, match=r"served/model\.pt2 is there already; choose another out="):
        predict("export=torch", "out=served")
    with pytest.raises(HypercolumnsError, match="export=tf is not known; choose one of onnx, torch"):
        predict("export=tf")


def test_prediction_imports_no_training_library(photos):
    """The command, in a process of its own: it exports nothing, but scores what it predicts."""
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
