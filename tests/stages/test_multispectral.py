"""A training on TIFF files with five bands. The fifth alone tells the classes."""

import json

import numpy as np
import onnxruntime
import pytest
import tifffile
import torch
from helpers.band_images import write_bands
from helpers.predictions import read
from helpers.small_runs import RGB, config, only, run
from PIL import Image

from hypercolumns import Backbone, HypercolumnsError, ImageDecoding, SegmentationPredictor
from hypercolumns.io.images import read_image
from hypercolumns.settings.data import image_index
from hypercolumns.stages.predict import predict as predict_stage

CLASSES, SIDE, BANDS = 3, 48, 5
SETTINGS = ["data=folder", "data.images=images", "data.masks=masks", "data.classes=classes.txt", "data.name=bands"]
RANGE = "data.range=[0,4095]"
ALL = [RANGE, "data.channels=[0,1,2,3,4]"]
FIRST = [RANGE, "data.channels=[0,1,2]"]
OTHERS = [text for text in RGB if not text.startswith(("data", "embedding")) and "epochs" not in text]
BASE = [*OTHERS, *SETTINGS, "trainer.max_epochs=8", "optimizer.lr=0.02", "embedding=30"]


def draw(seed):
    """Draw a mask of blocks, and five bands: four of noise, and one that gives the class."""
    chance = np.random.default_rng(seed)
    mask = np.kron(chance.integers(0, CLASSES, (6, 6)), np.ones((SIDE // 6, SIDE // 6))).astype(np.uint8)
    bands = chance.integers(0, 4096, (SIDE, SIDE, BANDS)).astype(np.uint16)
    bands[..., 4] = mask.astype(int) * 1500 + 300
    return mask, bands


def write(path, bands):
    tifffile.imwrite(path, bands, photometric="minisblack", planarconfig="contig")


@pytest.fixture
def place(tmp_path, monkeypatch):
    """The working directory, with the data set and the folder `new` of unseen images with the folder `truth`."""
    monkeypatch.chdir(tmp_path)
    write_bands(tmp_path, 10, draw, write)
    return tmp_path


def predict(*overrides):
    return predict_stage(config("predict", "outputs.overlay=false", *overrides))


def miou(folder):
    return json.loads((folder / "metrics.json").read_text())["miou"]


def pretrain(*overrides):
    run("extract", *overrides, "sampler.n=100", base=BASE)
    return run("pretrain", *overrides, "batch_size=32", base=BASE)


def test_fifth_band_is_trained_on_and_predicted(place):
    pretrain(*ALL)
    run("train", *ALL, "batch_size=1", "augment.grayscale=0.5", base=BASE)
    trained = only(place, "runs/bands/rgb/train/*")
    assert miou(trained) > 0.99
    assert (trained / "panels.png").is_file()
    assert list(place.glob("runs/bands/rgb/samples/*/embedding/*/*/sprite.png"))

    model = f"model={trained}"
    assert predict(model, "images=new", "masks=truth", "out=out", "outputs.overlay=true", "legend=false") == 0
    assert miou(place / "out") > 0.99
    predictor = SegmentationPredictor.load(trained)
    for number in (8, 9):
        mask, bands = draw(number)
        labels = read(place / "out" / f"{number}.png")
        assert (labels == mask).mean() > 0.99
        bytes_of = np.rint(bands / 4095 * 255).astype(np.uint8)
        for image in (place / "new" / f"{number}.tif", bands, torch.from_numpy(bytes_of).permute(2, 0, 1)):
            prediction = predictor.predict(image)
            assert (prediction.labels == labels).all()
            assert (prediction.image == bytes_of[..., :3]).all()
        assert read(place / "out" / f"{number}.overlay.jpg").shape == (SIDE, SIDE, 3)

    validated = image_index(config("train", "stage=train", *SETTINGS, *ALL)).splits["val"]
    (place / "val.txt").write_text("".join(f"{pair.image}\n" for pair in validated))
    assert predict(model, "images=val.txt", "masks=masks", "out=val") == 0
    assert miou(place / "val") == miou(trained)
    run("evaluate", model, base=BASE)  # the channels are those of the model
    assert miou(only(place, "runs/bands/rgb/evaluate/*")) == miou(trained)


@pytest.mark.slow
def test_first_three_bands_do_not_suffice(place):
    assert pretrain(*FIRST) < 0.6
    assert pretrain(RANGE, "data.channels=[4]") > 0.99  # the fifth band alone, as a grey image


@pytest.mark.slow
def test_wide_convolution_is_trained_and_exported(place):
    net = ["cnn=sqn", "cnn.taps=[features.0]", "cnn.weights=null", "cnn.trainable=all"]
    pretrain(*ALL, *net[:3])
    run("train", *ALL, *net, "batch_size=1", "trainer.max_epochs=4", base=BASE)
    trained = only(place, "runs/bands/sqn/train/*")
    predictor = SegmentationPredictor.load(trained)
    assert predictor.segmenter.backbone.body.get_submodule("features.0").weight.shape == (96, 5, 7, 7)

    decoding = ImageDecoding(range=[0, 4095], channels=list(range(5)))
    for suffix, form in ((".onnx", "onnx"), (".pt2", "torch")):
        predict(f"model={trained}", f"export={form}", "out=served", "images=new")
        path = place / "served" / f"model{suffix}"
        for number in (8, 9):
            images = read_image(place / "new" / f"{number}.tif", None, decoding)[None]
            if form == "onnx":
                labels = onnxruntime.InferenceSession(path).run(None, {"images": images.numpy()})[0]
            else:
                labels = torch.export.load(path).module()(images).numpy()
            assert (labels[0] == predictor.predict(place / "new" / f"{number}.tif").labels).mean() > 0.999


def test_validate_reads_and_shows_all_bands(place):
    run("validate", *ALL, base=SETTINGS)
    folder = place / "runs" / "bands" / "validate"
    assert len((folder / "offenders.csv").read_text().splitlines()) == 1
    assert (folder / "preview.png").is_file()
    before = (folder / "preview.png").read_bytes()
    run("validate", RANGE, "data.channels=[4]", base=SETTINGS)
    assert (folder / "preview.png").read_bytes() != before


@pytest.mark.slow
def test_models_and_images_must_agree(place, capsys):
    pretrain(*ALL)
    model = only(place, "runs/bands/rgb/pretrain/*")
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(place / "photo.png")
    capsys.readouterr()
    assert predict(f"model={model}", "images=photo.png", "out=photo", "range=null") == 1
    assert "photo.png is a PNG with 3 channels of uint8, so it has no channel 4" in capsys.readouterr().out

    other = r"^channels=\[0,1,2\] gives images of 3 channels, but this model takes images of 5; list 5 channels"
    with pytest.raises(HypercolumnsError, match=other):
        predict(f"model={model}", "images=new", "out=other", "channels=[0,1,2]")
    with pytest.raises(HypercolumnsError, match=r"^data\.channels=\[0,1,2\] gives images of 3 channels, but this"):
        run("evaluate", f"model={model}", "data.channels=[0,1,2]", base=BASE)
    with pytest.raises(HypercolumnsError, match=r"the model takes images of 5 channels, but data\.channels=\[0,1,2\]"):
        run("train", *FIRST, f"init_from={model}", base=BASE)
    with pytest.raises(HypercolumnsError, match=r"cnn\.mean=\[1, 2\] must be three finite numbers, .* or 5, one for"):
        run("extract", *ALL, "cnn.mean=[1,2]", base=BASE)

    pretrain(*FIRST)
    narrow = next(path for path in place.glob("runs/bands/rgb/pretrain/*") if path not in (model, model.parent))
    tifffile.imwrite(place / "five.tif", draw(8)[1], photometric="minisblack", planarconfig="contig")
    with pytest.raises(HypercolumnsError, match="gives images of 5 channels, but this model takes images of 3"):
        predict(f"model={narrow}", "images=five.tif", "out=five", "channels=[0,1,2,3,4]")


def test_message_offers_all_bands(place):
    with pytest.raises(HypercolumnsError, match=r"a model sees all of them by data\.channels=\[0,1,2,3,4\]"):
        run("extract", RANGE, base=BASE)


def test_frozen_first_layer_is_noted(place, capsys):
    state = Backbone("squeezenet1_0", ["features.0"]).body.state_dict()
    torch.save(state, "rgb.pth")
    net = ["cnn=sqn", "cnn.taps=[features.0]", "cnn.weights=rgb.pth"]
    for settings, noted in ((FIRST, False), (ALL, True), ([*ALL, "cnn.weights=null"], False)):
        capsys.readouterr()
        run("extract", *net, *settings, "sampler.n=5", "embedding=0", base=BASE)
        assert ("the first layer is frozen" in " ".join(capsys.readouterr().out.split())) == noted
