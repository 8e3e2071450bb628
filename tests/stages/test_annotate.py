"""Stage annotate: what it lists, refuses and leaves, and how other stages go on from it."""

import http.client
import os
import re
import shlex
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from filelock import FileLock
from helpers.paths import ROOT
from PIL import Image

from hypercolumns import Segmenter
from hypercolumns.annotation.labels import label_files
from hypercolumns.annotation.serving.worker import TrainingWorker
from hypercolumns.io.files import file_hash
from hypercolumns.io.masks import read_mask
from hypercolumns.labels import LabelScheme
from hypercolumns.stages import annotate

SETTINGS = ["data=folder", "data.images=photos", "data.masks=masks", "data.classes=classes.txt", "cnn=rgb"]
STAGE = ["stage=annotate", *SETTINGS, "hidden=8"]
SIZE = (40, 60)


@pytest.fixture
def photos(tmp_path):
    """A folder with three images, whose left half is red and whose right one is blue."""
    (tmp_path / "photos").mkdir()
    for number in range(3):
        image = np.random.default_rng(number).integers(0, 60, (*SIZE, 3), np.uint8)
        image[:, :30, 0] += 150
        image[:, 30:, 2] += 150
        Image.fromarray(image).save(tmp_path / "photos" / f"{number}.png")
    (tmp_path / "classes.txt").write_text("sky\ntree\nroad\n")
    return tmp_path


@pytest.fixture
def label(photos, run_script, monkeypatch):
    """A function that runs the stage, labels images in place of a browser, and returns what the stage printed."""

    def run(edits=None, *settings):
        def serve(session, opened, address, ready):
            opened.close()
            session.start()
            ready()
            for number, of_image in (edits or {}).items():
                session.edit(number, [{"value": value, "runs": [start, 50]} for value, start in of_image])
            while edits and not session.state()["model"]["trained"]:
                time.sleep(0.02)
            session.stop()

        monkeypatch.setattr(annotate, "serve", serve)
        return run_script("train.py", *STAGE, *settings, cwd=photos)

    return run


def refused(label, *settings):
    result = label(None, *settings)
    assert result.returncode == 2, result.stderr
    return result.stderr


def test_masks_and_model_fit_other_stages(photos, label, run_script):
    both = [(0, 0), (2, 35), (0, 1200), (2, 1210)]  # 50 pixels each, from these pixels on
    result = label({0: both, 1: both})
    assert result.returncode == 0, result.stderr
    assert "labelled  2 of 3 images, in masks" in result.stdout
    labels = read_mask(photos / "masks" / "0.png", LabelScheme.of(["sky", "tree", "road"])).numpy().ravel()
    assert (labels[:35] == 0).all()
    assert (labels[1210:1260] == 2).all()
    assert (labels == 255).sum() == 2400 - 85 - 60
    model = re.search(r"model {2}(\S+)", result.stdout)[1]
    assert Segmenter.load(photos / model).classes == ("sky", "tree", "road")
    predict = shlex.split(re.search(r"predict {2}python (.*)", result.stdout)[1])
    assert run_script(*predict, cwd=photos).returncode == 0
    assert len([*(photos / "predicted").rglob("*.png")]) == 3
    assert not [*(photos / "runs").rglob(".maps-*")]


@pytest.mark.slow(seconds=8)
def test_printed_command_trains_on_the_masks(photos, label, run_script):
    both = [(0, 0), (2, 35), (0, 1200), (2, 1210)]
    result = label({0: both, 1: both})
    train = shlex.split(re.search(r"train {2}python \S+ (.*)", result.stdout)[1])
    assert train[-2:] == ["data.unlabelled=skip", "data.missing_classes=allow"]
    more = ["num_workers=0", "embedding=0", "bootstrap_samples=0", "logger=none", "trainer.max_epochs=1"]
    trained = run_script("train.py", *train, *more, cwd=photos)
    assert trained.returncode == 0, trained.stderr
    tune = shlex.split(re.search(r"fine-tune {2}python \S+ (.*)", result.stdout)[1])
    more.remove("embedding=0")
    trained = run_script("train.py", *tune, *more, "augment.crop=32", cwd=photos)
    assert trained.returncode == 0, trained.stderr
    assert "classifier  kept" in trained.stdout


def test_masks_of_the_first_class_need_their_void(label):
    assert "data.void=255" in label({0: [(0, 0)], 1: [(0, 9)]}).stdout
    assert "data.void=255" not in label({0: [(1, 0)], 1: [(1, 9)]}).stdout


def test_the_same_command_goes_on(photos, label):
    label({0: [(0, 0)]})
    result = label({1: [(1, 0)]})
    assert "labelled  2 of 3 images" in result.stdout
    assert len([*(photos / "runs").glob("folder/rgb/annotate/*/model.safetensors")]) == 2  # one is `latest`
    scheme = LabelScheme.of(["sky", "tree", "road"])
    assert [read_mask(photos / "masks" / f"{n}.png", scheme).unique().tolist() for n in (0, 1)] == [[0, 255], [1, 255]]


def test_own_masks_are_hashed_once_at_the_start(photos, label, monkeypatch):
    label({0: [(0, 0)], 1: [(1, 0)]})
    hashed = []
    monkeypatch.setattr(label_files, "file_hash", lambda path: hashed.append(path.name) or file_hash(path))
    monkeypatch.setattr(TrainingWorker, "start", lambda worker: None)  # it opens the labels, and hashes masks again
    monkeypatch.setattr(TrainingWorker, "stop", lambda worker: True)
    assert "labelled  2 of 3 images" in label().stdout
    assert sorted(hashed) == ["0.png", "1.png", "2.png"]


def test_nothing_labelled_writes_nothing(photos, label):
    result = label()
    assert result.returncode == 0
    assert "label at least two images" in result.stdout
    assert [path.name for path in (photos / "masks").iterdir()] == [".annotation"]
    assert not [*(photos / "runs").rglob("model.safetensors")]


def test_masks_of_colours_are_read_by_them(photos, label):
    (photos / "classes.txt").write_text("sky 10 20 30\nroad 200 0 0\n")
    (photos / "masks").mkdir()
    rgb = np.full((*SIZE, 3), (10, 20, 30), np.uint8)
    rgb[5] = 200, 0, 0
    Image.fromarray(rgb).save(photos / "masks" / "2.png")
    assert "labelled  2 of 3 images" in label({0: [(0, 0), (1, 60)]}).stdout
    assert "labelled  2 of 3 images" in label().stdout


def test_an_unreadable_mask_is_named_and_stays(photos, label):
    (photos / "masks").mkdir()
    (photos / "masks" / "1.png").write_bytes(b"broken")
    result = label({0: [(0, 0)]})
    assert "masks/1.png" in result.stdout
    assert (photos / "masks" / "1.png").read_bytes() == b"broken"
    assert "labelled  1 of 3 images" in result.stdout


def test_a_mask_of_another_size_is_named(photos, label):
    (photos / "masks").mkdir()
    Image.fromarray(np.zeros((20, 30), np.uint8)).save(photos / "masks" / "1.png")
    content = (photos / "masks" / "1.png").read_bytes()
    result = label({2: [(0, 0)]})
    assert "masks/1.png is 30x20" in result.stdout
    assert "training has stopped" not in result.stdout
    assert (photos / "masks" / "1.png").read_bytes() == content
    assert "labelled  1 of 3 images" in result.stdout


def test_values_of_no_class_stop_at_the_start(photos, label):
    (photos / "masks").mkdir()
    Image.fromarray(np.full(SIZE, 7, np.uint8)).save(photos / "masks" / "1.png")
    assert "holds values that are no class: 7" in refused(label)
    assert label(None, "data.void=[7,255]").returncode == 0


def test_model_keeps_the_rule_of_the_masks(photos, label):
    result = label({0: [(0, 0)]}, "data.void=[7,255]")
    model = Segmenter.load(photos / re.search(r"model {2}(\S+)", result.stdout)[1])
    assert model.scheme.values == {0: 0, 1: 1, 2: 2, 7: 255, 255: 255}


def test_a_class_is_added_at_the_end(photos, label):
    """All strokes are of the first class, so masks of others with these values would be taken for binary ones."""
    label({0: [(0, 0)]})
    with (photos / "classes.txt").open("a") as classes:
        classes.write("lake\n")
    result = label()
    assert result.returncode == 0, result.stderr
    assert "labelled  1 of 3 images" in result.stdout


@pytest.mark.parametrize("suffix", ["webp", "mask"])
def test_masks_of_other_formats_are_refused(label, suffix):
    assert f"0.{suffix} can't hold labels; let the name end with .png" in refused(
        label, f"data.mask_name={{id}}.{suffix}"
    )


def test_a_second_session_is_refused(photos, label):
    (photos / "masks" / ".annotation").mkdir(parents=True)
    with FileLock(photos / "masks" / ".annotation" / ".lock"):
        assert "another session of stage=annotate works on data.masks=masks" in refused(label)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["data.masks=null"], "data.masks is not set"),
        (["data.images=none"], "data.images=none is not a folder"),
        (["data.images=empty"], "data.images=empty has no images"),
        (["data.masks=photos"], "0.png would be its own mask"),
        (["data.void=none"], "no value of a mask is void"),
        (["data.val_images=photos", "data.val_masks=masks"], "labels one folder at a time"),
        (["map_memory=-1"], "map_memory=-1 must be a number"),
        (["port=70000"], "port=70000 must be from 0 to 65535"),
        (["host=203.0.113.1"], "host=203.0.113.1"),
        (["experiment=frozen"], "experiment is not a setting of stage=annotate"),
    ],
)
def test_other_settings_are_refused(photos, label, settings, message):
    (photos / "empty").mkdir()
    assert message in refused(label, *settings)
    assert not (photos / "masks").exists(), "a start that fails leaves no folder"


def test_a_failed_start_removes_only_its_folders(photos, label):
    (photos / "masks").mkdir()
    refused(label, "port=70000")
    assert [*(photos / "masks").iterdir()] == []
    refused(label, "port=70000", "data.masks=a/b/c")
    assert not (photos / "a").exists()


def test_a_mask_of_colours_without_names_is_named(photos, label):
    (photos / "masks").mkdir()
    rgb = np.full((*SIZE, 3), (10, 20, 30), np.uint8)
    for name in ("1", "2"):
        Image.fromarray(rgb).save(photos / "masks" / f"{name}.png")
    assert "masks/1.png holds colours, but classes.txt names no colours" in refused(label)


def test_other_data_sets_are_refused(photos, run_script):
    result = run_script("train.py", "stage=annotate", "data=shapes", cwd=photos)
    assert result.returncode == 2
    assert "labels the images of a folder; set data=folder" in result.stderr


def test_missing_package_is_named(label, monkeypatch):
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    assert "uv sync --extra annotate" in refused(label)


@pytest.mark.slow(seconds=15)
def test_ctrl_c_ends_the_server_with_its_results(photos):
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(ROOT / "train.py"), *STAGE, "open=false"]
    with subprocess.Popen(command, cwd=photos, stdout=subprocess.PIPE, text=True, env=environment) as process:
        url = next(line for line in process.stdout if line.startswith("http")).strip()
        _, _, address, token, _ = url.split("/")
        connection = http.client.HTTPConnection(address, timeout=60)
        connection.request("GET", f"/{token}/api/session")
        assert connection.getresponse().status == 200
        connection.close()
        process.send_signal(signal.SIGINT)
        rest = process.stdout.read()
        assert process.wait() == 0
    assert "labelled  0 of 3 images" in rest
