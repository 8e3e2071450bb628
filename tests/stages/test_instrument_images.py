"""A training on TIFF files with four bands of 12 bits in 16, from the settings to the masks of new images."""

import json

import numpy as np
import pytest
import tifffile
from helpers.band_images import write_bands
from helpers.predictions import read
from helpers.small_runs import RGB, config, only, run
from PIL import Image

from hypercolumns import (
    Backbone,
    HypercolumnExtractor,
    HypercolumnsError,
    MLPClassifier,
    SegmentationPredictor,
    Segmenter,
)
from hypercolumns.io.images import read_image
from hypercolumns.settings.data import image_index
from hypercolumns.stages.predict import predict as predict_stage

CLASSES, SIDE = 3, 48
SETTINGS = ["data=folder", "data.images=images", "data.masks=masks", "data.classes=classes.txt", "data.name=bands"]
RULES = ["data.range=[0,4095]", "data.channels=[3,0,1]"]
OTHERS = [text for text in RGB if not text.startswith("data") and "epochs" not in text]
BASE = [*OTHERS, *SETTINGS, "trainer.max_epochs=4", "optimizer.lr=0.02"]


def draw(seed):
    """Draw a mask of blocks, and four bands whose fourth alone tells classes 1 and 2 apart."""
    chance = np.random.default_rng(seed)
    mask = np.kron(chance.integers(0, CLASSES, (6, 6)), np.ones((SIDE // 6, SIDE // 6))).astype(np.uint8)
    bands = np.stack([mask > 0, mask == 0, chance.random(mask.shape), mask == 2], axis=-1) * 2600 + 300
    return mask, (bands + chance.normal(0, 60, bands.shape)).clip(0, 4095).astype(np.uint16)


def write(path, bands):
    tifffile.imwrite(path, bands, photometric="rgb", extrasamples=["unspecified"], compression="lzw", predictor=True)


@pytest.fixture
def place(tmp_path, monkeypatch):
    """The working directory, with the data set and the folder `new` of unseen images with the folder `truth`."""
    monkeypatch.chdir(tmp_path)
    write_bands(tmp_path, 12, draw, write)
    return tmp_path


def predict(*overrides):
    return predict_stage(config("predict", "outputs.overlay=false", *overrides))


def test_bands_are_trained_on_and_predicted(place, capsys):
    run("extract", *RULES, "sampler.n=100", base=BASE)
    run("pretrain", *RULES, "batch_size=32", base=BASE)
    run("train", *RULES, "batch_size=1", base=BASE)
    trained = only(place, "runs/bands/rgb/train/*")
    scores = json.loads((trained / "metrics.json").read_text())
    assert scores["miou"] > 0.99

    model = f"model={trained}"
    assert predict(model, "images=new", "masks=truth", "out=out") == 0
    for number in (10, 11):
        labels = read(place / "out" / f"{number}.png")
        assert (labels == read(place / "truth" / f"{number}.png")).mean() > 0.99
        predictor = SegmentationPredictor.load(trained)
        assert (predictor.predict(place / "new" / f"{number}.tif").labels == labels).all()
        assert (predictor.predict(draw(number)[1]).labels == labels).all()

    run("evaluate", model, base=BASE)  # the rules are those of the model
    evaluated = json.loads((only(place, "runs/bands/rgb/evaluate/*") / "metrics.json").read_text())
    assert evaluated["miou"] == scores["miou"]

    write(place / "wide.tif", draw(10)[1] * 16)  # the same scene by an instrument of 16 bits
    assert predict(model, "images=wide.tif", "out=wide", "range=dtype") == 0
    assert (read(place / "wide" / "wide.png") == read(place / "truth" / "10.png")).mean() > 0.99
    with pytest.raises(HypercolumnsError, match=r"out=.* \(decoding: \{'range': 'dtype'\} before, None now"):
        predict(model, "images=wide.tif", "out=wide")

    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(place / "photo.png")
    capsys.readouterr()
    assert predict(model, "images=photo.png", "out=photo") == 1
    assert "photo.png is a PNG with 3 channels of uint8, so it has no channel 3" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        ([], r"10 files can't be used: .*0\.tif is a TIFF with 4 channels of uint16, .* data\.channels=\[0,1,2\]"),
        (RULES[1:], r"set data\.range=\[0,4095\], which fits the values seen \(.* or data\.range=\[2%,98%\]"),
        (
            ["data.range=dtype", RULES[1]],
            r"nearly black: .* set data\.range=\[0,4095\], .*; data\.range=\[0,65535\] keeps",
        ),
        (["data.channels=[4]", RULES[0]], r"has no channel 4 of data\.channels=\[4\]"),
        (["data.range=full"], r"data\.range=full must be null, dtype"),
        (["data.page=first"], r"data\.page=first must be null, all"),
    ],
)
def test_commands_without_rules_name_the_setting(place, rules, message):
    with pytest.raises(HypercolumnsError, match=message):
        run("extract", *rules, base=BASE)


def test_guide_of_other_rules_is_refused(place):
    backbone = Backbone("rgb", ["image"])
    classifier = MLPClassifier(backbone.channels, CLASSES, 4)
    Segmenter(HypercolumnExtractor(backbone), classifier, ["ground", "water", "plants"]).save("model.safetensors")
    with pytest.raises(HypercolumnsError, match=r"was trained on images that are read by no rules, but this command"):
        run("extract", *RULES, "sampler=uncertainty", "model=model.safetensors", base=BASE)


def test_percentiles_and_pages_from_the_command(place):
    cfg = config("train", *SETTINGS, "stage=extract", "data.range=[2%,98%]", "data.channels=[3,0,1]", "data.page=0")
    images = image_index(cfg)
    assert images.decoding.settings() == {"range": ["2%", "98%"], "channels": [3, 0, 1], "page": 0}
    pair = images.splits["train"][0]
    bands = draw(int(pair.id))[1][..., [3, 0, 1]]
    low, high = np.percentile(bands, [2, 98])
    expected = np.rint(np.clip((bands - low) / (high - low), 0, 1) * 255)
    assert (read_image(pair.image, None, images.decoding).permute(1, 2, 0).numpy() == expected).all()


def test_fingerprint_depends_on_the_rules(place):
    prints = []
    for rules in (RULES, ["data.range=[0,4000]", RULES[1]], ["data.range=[0,65535]", "data.channels=[0]"]):
        prints.append(image_index(config("train", *SETTINGS, "stage=extract", *rules)).fingerprint())
    assert len({fingerprint["train"] for fingerprint in prints}) == 3
    assert prints[0]["decoding"] == {"range": [0, 4095], "channels": [3, 0, 1]}


def test_store_of_other_rules_does_not_fit(place):
    run("extract", *RULES, base=BASE)
    with pytest.raises(HypercolumnsError, match=r"data\.decoding\.range is \[0, 4095\], this command has \[0, 4000\]"):
        run("pretrain", "data.range=[0,4000]", RULES[1], base=BASE)


def test_new_rules_repeat_the_check_of_files(place):
    rules = ["data.on_bad=skip", "data.max_invalid=0.5"]
    with pytest.raises(HypercolumnsError, match="images can't be used"):
        image_index(config("train", *SETTINGS, "stage=extract", *rules))
    images = image_index(config("train", *SETTINGS, "stage=extract", *rules, *RULES))
    assert sum(map(len, images.splits.values())) == 10
