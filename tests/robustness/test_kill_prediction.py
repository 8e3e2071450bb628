"""predict.py, killed at random moments and run again, writes the files of an undisturbed run."""

import hashlib
import signal

import numpy as np
import pytest
from helpers.commands import kill_while_writing, seconds_of_writing, sha256
from helpers.networks import make_segmenter
from PIL import Image

from hypercolumns.data import shapes

RECORD = "predictions.jsonl"  # lists an image again after each kill
TABLE = "class_fractions.csv"  # is rewritten as the images are done
PICTURES = "**/*.png"


@pytest.fixture
def predict(start, tmp_path, effort):
    """A function that starts a prediction to a folder, given its name: images of two folders, four files for each."""
    number = 16 if effort == 1 else 50
    shapes(tmp_path / "data", train_images=number, val_images=1)
    for place, path in enumerate(sorted(tmp_path.glob("data/*/VOCdevkit/VOC2012/JPEGImages/train_*"))):
        link = tmp_path / "images" / ("deep" if place % 2 else ".") / path.name
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(path)
    assert len(list(tmp_path.glob("images/**/*.jpg"))) == number
    make_segmenter("placed").save(tmp_path / "model.safetensors")
    settings = [f"model={tmp_path / 'model.safetensors'}", f"images={tmp_path / 'images'}", "device=cpu"]
    settings += ["outputs.confidence=true", "outputs.probabilities=true"]
    return lambda name: start("predict.py", *settings, f"out={tmp_path / name}")


def contents(out):
    """Return the sha256 of the content of each file but the record; raises if a file can't be read."""
    files = (path for path in out.rglob("*") if path.is_file() and not path.name.startswith("."))
    return {path.relative_to(out).as_posix(): content(path) for path in sorted(files) if path.name != RECORD}


def content(path):
    if path.suffix == ".npz":  # the archive also contains the time of writing
        with np.load(path) as arrays:
            return hashlib.sha256(b"".join(arrays[name].tobytes() for name in arrays.files)).hexdigest()
    if path.suffix in (".png", ".jpg"):
        with Image.open(path) as image:
            image.load()
    return sha256(path)


@pytest.mark.slow(seconds=40)
def test_killed_prediction_ends_with_same_files(predict, tmp_path, effort, chance):
    assert predict("alone").wait() == 0
    seconds = seconds_of_writing(tmp_path / "alone")
    whole = contents(tmp_path / "alone")
    assert len(whole) == 4 * len(list(tmp_path.glob("images/**/*.jpg"))) + 1
    for kill in range(effort):
        out = tmp_path / f"killed {kill}"
        kill_while_writing(out, PICTURES, predict(out.name), chance.uniform(0, seconds), signal.SIGKILL)
        left = {name: digest for name, digest in contents(out).items() if name in whole}
        assert {name for name, digest in left.items() if whole[name] != digest} <= {TABLE}, f"kill {kill}"
        assert predict(out.name).wait() == 0
        assert contents(out) == whole, f"kill {kill} left {len(left)} files"
        assert not list(out.rglob(".*"))
        print(f"kill {kill} left {len(left)} of {len(whole)} complete files; the second run made all files the same")
