"""The files for annotation tools that predict.py writes: settings, resuming, errors."""

import json

import numpy as np
import pytest
from helpers.predictions import MODEL, SIZES, files, predict, read
from PIL import Image

from hypercolumns import HypercolumnsError, Segmenter
from hypercolumns.prediction import PredictionManifest

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # from pycocotools
ALL = [f"outputs.{tool}=true" for tool in ("cvat", "coco", "label_studio", "labelme")]
TABLES = ["coco.json", "cvat/ImageSets/Segmentation/default.txt", "cvat/labelmap.txt", "label_studio.json"]


@pytest.fixture
def pictures(photos):
    """The folder of images without the two that only their suffixes tell apart."""
    (photos / "x.jpg").unlink()
    return photos


def listed(out):
    """Return the names that each table lists."""
    coco = json.loads((out / "coco.json").read_text())
    assert {annotation["image_id"] for annotation in coco["annotations"]} == {image["id"] for image in coco["images"]}
    tasks = json.loads((out / "label_studio.json").read_text())
    return (
        [image["file_name"] for image in coco["images"]],
        [task["data"]["image"].removeprefix("/data/local-files/?d=") for task in tasks],
        (out / "cvat/ImageSets/Segmentation/default.txt").read_text().splitlines(),
    )


def test_files_of_all_tools_are_written(pictures, place, segmenter):
    assert predict("images=photos", "out=out", "batch_size=2", "num_workers=2", *ALL) == 0
    names = ["a", "deep/b c", "one", "x"]
    kinds = [("", ".png"), ("", ".overlay.jpg"), ("labelme/", ".json")]
    kinds += [("cvat/SegmentationClass/", ".png"), ("cvat/SegmentationObject/", ".png")]
    outputs = [f"{folder}{name}{suffix}" for name in names for folder, suffix in kinds]
    assert files(place / "out") == sorted([*outputs, *TABLES, "predictions.jsonl", "class_fractions.csv"])
    for name in names:
        labels = read(place / "out" / f"{name}.png")
        colours = np.array(segmenter.palette, np.uint8)[labels]
        assert (read(place / "out/cvat/SegmentationClass" / f"{name}.png") == colours).all()
        shapes = json.loads((place / "out/labelme" / f"{name}.json").read_text())["shapes"]
        assert [shape["label"] for shape in shapes] == [segmenter.classes[index] for index in np.unique(labels)]
    paths = ["a.jpg", "deep/b c.png", "one.png", "x.png"]
    assert listed(place / "out") == (paths, [path.replace(" ", "%20") for path in paths], names)


def test_interrupted_run_is_completed(pictures, place, monkeypatch):
    """The tables list also the images of the interrupted command, and no half list is left behind in between."""
    predict("images=photos", "out=whole", *ALL)
    add, added = PredictionManifest.add, []

    def stop(manifest, name, *arguments):
        add(manifest, name, *arguments)
        added.append(name)
        if len(added) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(PredictionManifest, "add", stop)
    with pytest.raises(KeyboardInterrupt):
        predict("images=photos", "out=out", *ALL)
    assert not any((place / "out" / table).exists() for table in TABLES)
    monkeypatch.setattr(PredictionManifest, "add", add)
    before = (place / "out/labelme/a.json").stat().st_mtime_ns
    assert predict("images=photos", "out=out", *ALL) == 0
    assert (place / "out/labelme/a.json").stat().st_mtime_ns == before  # corrections in labelme would be kept
    for table in TABLES:
        assert (place / "out" / table).read_bytes() == (place / "whole" / table).read_bytes()


def test_tables_can_be_added_later(pictures, place, segmenter, monkeypatch):
    """Only the masks are read for this, so no image is predicted again."""
    predict("images=photos", "out=out")
    monkeypatch.setattr(Segmenter, "labels", None)
    assert predict("images=photos", "out=out", "outputs.coco=true", "outputs.label_studio=true") == 0
    assert len(json.loads((place / "out/coco.json").read_text())["images"]) == len(SIZES) - 1
    (place / "out/coco.json").write_text("edited by hand")
    predict("images=photos", "out=out", "outputs.label_studio=true")  # does not write coco.json, so keeps it
    assert (place / "out/coco.json").read_text() == "edited by hand"


def test_unreadable_image_is_left_out(pictures, place):
    (pictures / "bad.png").write_text("no image")
    assert predict("images=photos", "out=out", *ALL) == 1
    assert listed(place / "out")[2] == ["a", "deep/b c", "one", "x"]
    ids = {image["file_name"]: image["id"] for image in json.loads((place / "out/coco.json").read_text())["images"]}
    Image.new("RGB", (9, 9)).save(pictures / "bad.png")
    assert predict("images=photos", "out=out", *ALL) == 0
    images = json.loads((place / "out/coco.json").read_text())["images"]
    assert len(images) == 5
    assert ids.items() <= {image["file_name"]: image["id"] for image in images}.items()  # the ids stay


def test_settings_reach_the_files(pictures, place):
    ids = {
        "images": [{"id": 40, "file_name": "a.jpg"}],
        "categories": [{"id": 9 - index, "name": name} for index, name in enumerate(("ground", "cat", "dog"))],
    }
    (place / "ids.json").write_text(json.dumps(ids))
    tags = ["label_studio.from_name=brush", "label_studio.to_name=photo", "label_studio.image_root=s3://photos/"]
    predict("images=photos/a.jpg", "out=out", "coco_images=ids.json", *tags, *ALL)
    coco = json.loads((place / "out/coco.json").read_text())
    assert {annotation["image_id"] for annotation in coco["annotations"]} == {40}
    assert {annotation["category_id"] for annotation in coco["annotations"]} <= {7, 8, 9}
    (task,) = json.loads((place / "out/label_studio.json").read_text())
    assert task["data"]["image"] == "s3://photos/a.jpg"
    assert {(result["from_name"], result["to_name"]) for result in task["predictions"][0]["result"]} == {
        ("brush", "photo")
    }


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["outputs.cvat=true"], r"so that x\.jpg can't be told from another input; rename one of the images"),
        (
            ["outputs.coco=true", "coco_images=ids.json"],
            r"coco_images=ids\.json lacks 4 of the 5 images: deep/b c\.png, ",
        ),
        (["outputs.coco=true", "coco_images=gone.json"], r"coco_images=gone\.json can't be read as a COCO file"),
        (
            ["outputs.coco=true", "coco_images=out/coco.json"],
            r"coco_images=out/coco\.json would be replaced by the outpu",
        ),
        (
            ["coco_images=ids.json"],
            r"coco_images=ids\.json gives the ids for outputs\.coco, which is false; set outputs",
        ),
        (
            ["outputs.coco=true", "outputs.mask=false"],
            r"outputs\.coco=true makes its file from the predicted masks, but",
        ),
        (["outputs.label_studio=true", "outputs.mask=false"], r"outputs\.label_studio=true makes its file from the "),
        (["label_studio.to_name=3"], r"label_studio\.to_name=3 must be a text that is not empty"),
    ],
)
def test_unusable_settings_are_refused(photos, place, overrides, message):
    (place / "ids.json").write_text('{"images": [{"id": 1, "file_name": "a.jpg"}], "categories": []}')
    with pytest.raises(HypercolumnsError, match=message):
        predict("images=photos", "out=out", *overrides)
    assert not (place / "out/predictions.jsonl").exists()


@pytest.mark.parametrize("tool", ALL)
def test_videos_are_refused(place, tool):
    (place / "clip.mp4").touch()
    message = rf"{tool} needs image files, which the annotation tool shows, but clip\.mp4 is a video or a stream; save"
    with pytest.raises(HypercolumnsError, match=message):
        predict("images=clip.mp4", "out=out", tool)
    assert not (place / "out").exists()


def test_files_of_others_are_kept(pictures, place):
    for name in ("coco.json", "labelme/a.json"):
        (place / "out" / name).parent.mkdir(parents=True, exist_ok=True)
        (place / "out" / name).write_text("mine")
    with pytest.raises(HypercolumnsError, match=r"out/labelme/a\.json exists, but predictions\.jsonl does not list it"):
        predict("images=photos", "out=out", *ALL)
    (place / "out/labelme/a.json").unlink()
    with pytest.raises(HypercolumnsError, match=r"out/coco\.json would be replaced; choose another out=, or set over"):
        predict("images=photos", "out=out", *ALL)
    assert (place / "out/coco.json").read_text() == "mine"
    predict("images=photos", "out=out", "overwrite=true", *ALL)
    assert listed(place / "out")[2] == ["a", "deep/b c", "one", "x"]


def test_outputs_that_clash_are_refused(pictures, place):
    (pictures / "cvat/SegmentationClass").mkdir(parents=True)
    (pictures / "a.jpg").rename(pictures / "cvat/SegmentationClass/x.jpg")
    with pytest.raises(
        HypercolumnsError, match=r"out/cvat/SegmentationClass/x\.png would be the output of two images; r"
    ):
        predict("images=photos", "out=out", "outputs.cvat=true")


def test_command_line_takes_settings(pictures, place, run_script):
    """The URL has characters with which Hydra would have trouble without quotes."""
    url = "label_studio.image_root=/data/local-files/?d=my photos, new/"
    run = run_script("predict.py", MODEL, "images=photos", "out=out", "outputs.label_studio=true", url, cwd=place)
    assert run.returncode == 0
    (task, *_) = json.loads((place / "out/label_studio.json").read_text())
    assert task["data"]["image"] == "/data/local-files/?d=my photos, new/a.jpg"
