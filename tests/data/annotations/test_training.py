"""A training on the files of each annotation tool, with the labels that the tool would show."""

import base64
import csv
import io
import json

import numpy as np
import pytest
from helpers.annotated import box, corners, object_of, runs, save_coco
from helpers.small_runs import only, run
from PIL import Image

from hypercolumns.errors import HypercolumnsError

pytestmark = pytest.mark.usefixtures("without_pictures")
SIZE = (24, 32)
COLOURS = {"road": (200, 200, 200), "car": (220, 20, 20)}
SETTINGS = [
    *["cnn=rgb", "num_workers=0", "sampler.n=60", "trainer.accelerator=cpu", "trainer.max_epochs=8"],
    *["optimizer.lr=0.01", "batch_size=100", "classifier.hidden=16", "embedding=0", "~callbacks.prediction_panels"],
]


def boxes(number):
    """Return the boxes of a road and of a car on it in an image."""
    return {"road": (0, 12, 32, 24), "car": (2 + number, 9, 12 + number, 18)}


def save_photos(folder):
    """Write ten images of a road and a car in plain colours, and return their names."""
    folder.mkdir(parents=True)
    names = [f"{number}.png" for number in range(10)]
    for number, name in enumerate(names):
        picture = np.full((*SIZE, 3), (20, 60, 220), np.uint8)
        for label, place in boxes(number).items():
            picture[box(*place, SIZE)] = COLOURS[label]
        Image.fromarray(picture).save(folder / name)
    return names


def save_with_coco(place):
    names = save_photos(place / "images/default")
    ids = {"road": 3, "car": 90}
    objects = [
        object_of(7 + 10 * number, ids[label], [corners(*edges)] if number % 2 else runs(box(*edges, SIZE)))
        for number in range(len(names))
        for label, edges in boxes(number).items()
    ]
    save_coco(place / "annotations/instances_default.json", names, objects, size=SIZE)
    return ["data=coco", f"data.root={place}"]


def save_with_labelme(place):
    for number, name in enumerate(save_photos(place / "photos")):
        shapes = []
        for label, (left, top, right, bottom) in boxes(number).items():
            shapes.append({"label": label, "points": [[left, top], [right - 1, bottom - 1]], "shape_type": "rectangle"})
        inside = io.BytesIO()
        left, top, right, bottom = boxes(number)["car"]
        Image.fromarray(np.ones((bottom - top, right - left), np.uint8)).save(inside, format="PNG")
        shapes[1] |= {"shape_type": "mask", "mask": base64.b64encode(inside.getvalue()).decode()}
        content = {"shapes": shapes, "imagePath": name, "imageHeight": SIZE[0], "imageWidth": SIZE[1]}
        (place / f"photos/{number}.json").write_text(json.dumps(content))
    return ["data=labelme", f"data.images={place}/photos"]


def save_with_label_studio(place):
    tasks = []
    for number, name in enumerate(save_photos(place / "photos")):
        results = []
        for label, (left, top, right, bottom) in boxes(number).items():
            points = [(left, top), (right, top), (right, bottom), (left, bottom)]
            value = {"points": [[100 * x / SIZE[1], 100 * y / SIZE[0]] for x, y in points], "polygonlabels": [label]}
            size = {"original_height": SIZE[0], "original_width": SIZE[1]}
            results.append({"type": "polygonlabels", "value": value, **size})
        tasks.append({"id": number, "data": {"image": f"1a2b3c4d-{name}"}, "annotations": [{"result": results}]})
    (place / "export.json").write_text(json.dumps(tasks))
    return ["data=label_studio", f"data.annotations={place}/export.json", f"data.images={place}/photos"]


@pytest.mark.parametrize("save", [save_with_coco, save_with_labelme, save_with_label_studio])
def test_training_learns_the_labels(tmp_path, save, capsys):
    settings = [f"runs={tmp_path}/runs", *save(tmp_path)]
    run("extract", *settings, base=SETTINGS)
    note = "pixels without an object are of class background; if they are not annotated: data.unannotated=void"
    assert note in capsys.readouterr().out
    assert run("pretrain", *settings, base=SETTINGS) > 0.99
    metrics = json.loads((only(tmp_path, "runs/*/rgb/pretrain/*") / "metrics.json").read_text())
    assert metrics["miou"] > 0.99


def test_workers_and_checks_see_each_problem(tmp_path, capsys):
    """Stage validate names the image and the object; `on_bad=skip` leaves the image out."""
    settings = [f"runs={tmp_path}/runs", *save_with_coco(tmp_path)]
    file = tmp_path / "annotations/instances_default.json"
    content = json.loads(file.read_text())
    content["annotations"][0]["segmentation"]["size"] = [32, 24]
    file.write_text(json.dumps(content))
    with pytest.raises(HypercolumnsError, match=r"1 of 10 images can't be used.*, or set data\.on_bad=skip in"):
        run("validate", *settings, base=SETTINGS)
    (row,) = csv.DictReader((tmp_path / "runs/coco/validate/offenders.csv").read_text().splitlines())
    assert row["id"] == "0"
    assert row["file"].startswith(f"{file} (image ")
    assert row["file"].endswith("/0.png)")
    assert row["problem"].startswith("object 1 can't be drawn: its run lengths are for an image of 24x32 pixels, but")
    run("extract", *settings, "data.on_bad=skip", "data.max_invalid=0.5", "num_workers=2", base=SETTINGS)
    assert "left out, as they can't be used: " in capsys.readouterr().out


def test_unannotated_images_are_asked_for(tmp_path, capsys):
    settings = [f"runs={tmp_path}/runs", *save_with_labelme(tmp_path)]
    (tmp_path / "photos/4.json").unlink()
    message = r"1 images have no mask, such as .*/4\.png, which .*/4\.json does not annotate; set data\.unlabelled=skip"
    with pytest.raises(HypercolumnsError, match=message):
        run("extract", *settings, base=SETTINGS)
    with pytest.raises(
        HypercolumnsError, match=r"1 of 10 images .* or set data\.unlabelled=skip \(images without a .*\) in"
    ):
        run("validate", *settings, base=SETTINGS)
    (tmp_path / "photos/5.png").write_bytes(b"")
    with pytest.raises(
        HypercolumnsError, match=r"2 of 10 images .* annotation\) and data\.on_bad=skip \(other problems\)"
    ):
        run("validate", *settings, base=SETTINGS)
    save_photos(tmp_path / "again")
    (tmp_path / "again/5.png").replace(tmp_path / "photos/5.png")
    run("extract", *settings, "data.unlabelled=skip", base=SETTINGS)
    assert "left out, as they have no mask yet: 1 of 8 train, 0 of 2 val images" in capsys.readouterr().out


def test_changed_annotation_changes_the_mask(tmp_path):
    """Saved counts and stores belong to the annotation of an image, not to its file."""
    settings = [f"runs={tmp_path}/runs", *save_with_labelme(tmp_path)]
    stores = tmp_path / "runs/labelme/rgb/samples"
    run("extract", *settings, base=SETTINGS)
    first = only(stores, "*")
    file = tmp_path / "photos/3.json"
    file.write_text(file.read_text().replace('"imagePath"', '"flags": {}, "imagePath"'))
    run("extract", *settings, base=SETTINGS)
    assert only(stores, "*") == first
    file.write_text(file.read_text().replace('"label": "car"', '"label": "road"'))
    run("extract", *settings, base=SETTINGS)
    assert len([path for path in stores.glob("*") if path.is_dir() and not path.is_symlink()]) == 2
