"""The COCO file of all images, read with pycocotools, and the ids from a file of the user."""

import json

import numpy as np
import pytest
from helpers.annotation_tools import assert_equal
from helpers.annotations import CLASSES, expected_masks, hard_labels, write_annotations
from pycocotools.coco import COCO

from hypercolumns import HypercolumnsError
from hypercolumns.prediction.annotations.coco import new_coco_ids, read_coco_ids
from hypercolumns.prediction.annotations.cvat import object_palette

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # from pycocotools


def given(path, images, categories):
    """Write a COCO file with these (id, file_name) of images and (id, name) of categories."""
    content = {
        "images": [{"id": number, "file_name": name, "license": 3} for number, name in images],
        "categories": [{"id": number, "name": name, "supercategory": "thing"} for number, name in categories],
    }
    path.write_text(json.dumps(content))
    return path


def masks_of(path):
    api = COCO(path)
    masks = {}
    for annotation in api.anns.values():
        image, category = api.imgs[annotation["image_id"]], api.cats[annotation["category_id"]]
        mask = api.annToMask(annotation)
        masks[image["file_name"].rpartition(".")[0], category["name"]] = mask
        assert mask.shape == (image["height"], image["width"])
        rows, columns = np.nonzero(mask)
        box = [columns.min(), rows.min(), np.ptp(columns) + 1, np.ptp(rows) + 1]
        assert annotation["bbox"] == box
        assert annotation["area"] == mask.sum()
        assert annotation["iscrowd"] == 1  # what COCO's format requires of run lengths
    return masks


def test_pycocotools_reads_each_pixel(tmp_path):
    out = write_annotations(tmp_path, hard_labels(), "coco")
    assert_equal(masks_of(out / "coco.json"), expected_masks(hard_labels()))
    content = json.loads((out / "coco.json").read_text())
    assert [(image["id"], image["file_name"]) for image in content["images"]] == list(
        enumerate(sorted(hard_labels()), 1)
    )
    assert content["categories"] == [
        {"id": 2, "name": "road"},
        {"id": 3, "name": "car"},
        {"id": 4, "name": "sign, round"},
    ]
    assert [annotation["id"] for annotation in content["annotations"]] == list(range(1, 9))


def test_ids_come_from_named_file(tmp_path):
    """Images are found by path, or else by a file name that occurs once; the background only if it is a category."""
    names = ["photos/a.png", "deep/b c.jpg", "other/b c.jpg", "empty.png", "full.png", "pixel.png", "more.png"]
    categories = [(90, "car"), (3, "road"), (7, "more"), (12, "sign, round")]
    ids = given(tmp_path / "ids.json", [(10 * n + 7, name) for n, name in enumerate(names)], categories)
    out = write_annotations(tmp_path, hard_labels(), "coco", coco_images=ids)
    content = json.loads((out / "coco.json").read_text())
    assert {image["file_name"]: image["id"] for image in content["images"]} == {
        "photos/a.png": 7,
        "deep/b c.jpg": 17,
        "empty.png": 37,
        "full.png": 47,
        "pixel.png": 57,
    }
    assert content["images"][0] == {"id": 7, "file_name": "photos/a.png", "license": 3, "height": 40, "width": 61}
    assert content["categories"] == json.loads(ids.read_text())["categories"]
    expected = {
        (key[0].replace("a", "photos/a", key[0] == "a"), key[1]): mask
        for key, mask in expected_masks(hard_labels()).items()
    }
    assert_equal(masks_of(out / "coco.json"), expected)
    results = COCO(ids).loadRes(content["annotations"])  # as pycocotools loads predictions for this file
    assert len(results.anns) == 8
    found = read_coco_ids(
        given(tmp_path / "more.json", [(1, "a.png")], [(5, "background"), *categories]), ["a.png"], CLASSES
    )
    assert found.category_ids == {0: 5, 1: 3, 2: 90, 3: 12}


def test_new_ids_do_not_depend_on_order():
    ids = new_coco_ids(["b.png", "a.png"], ["ground", "background", "cat"])
    assert {file: image["id"] for file, image in ids.images.items()} == {"a.png": 1, "b.png": 2}
    assert ids.category_ids == {0: 1, 2: 3}


@pytest.mark.parametrize(
    ("images", "categories", "message"),
    [
        ([(1, "a.png")], CLASSES, r"ids\.json lacks 1 of the 2 images: deep/b\.png; an entry must have the path"),
        ([(1, "a.png"), (2, "x/b.png"), (3, "y/b.png")], CLASSES, r"lacks 1 of the 2 images: deep/b\.png"),
        ([(1, "a.png"), (2, "deep/b.png"), (3, "deep/b.png")], CLASSES, r"lacks 1 of the 2 images: deep/b\.png"),
        ([(1, "a.png"), (1, "b.png")], CLASSES, r"has one entry, id 1, for the images a\.png and deep/b\.png; give"),
        (None, CLASSES[:2], r"lacks the classes car, sign, round among its categories \(background, road\); add each"),
        (None, [*CLASSES, "road"], r"has road twice among its categories"),
    ],
)
def test_file_without_image_or_class_is_refused(tmp_path, images, categories, message):
    images = [(1, "a.png"), (2, "deep/b.png")] if images is None else images
    ids = given(tmp_path / "ids.json", images, list(enumerate(categories)))
    with pytest.raises(HypercolumnsError, match=message):
        read_coco_ids(ids, ["a.png", "deep/b.png"], CLASSES)


@pytest.mark.parametrize("text", ["[]", "{", '{"images": [{"id": 1}], "categories": []}', '{"images": 3}', None])
def test_other_file_is_refused(tmp_path, text):
    if text is not None:
        (tmp_path / "ids.json").write_text(text)
    with pytest.raises(HypercolumnsError, match=r"ids\.json can't be read as a COCO file \(.*\); give a JSON file"):
        read_coco_ids(tmp_path / "ids.json", ["a.png"], CLASSES)


def test_other_size_is_refused(tmp_path):
    ids = given(tmp_path / "ids.json", [(1, "a.png")], list(enumerate(CLASSES)))
    content = json.loads(ids.read_text())
    content["images"][0] |= {"height": 61, "width": 40}
    ids.write_text(json.dumps(content))
    labels = {"a.png": hard_labels()["a.png"]}
    with pytest.raises(
        HypercolumnsError, match=r"a\.png in the file coco_images= is for an image of 40x61 pixels, but"
    ):
        write_annotations(tmp_path, labels, "coco", coco_images=ids)
    assert not (tmp_path / "out/coco.json").exists()


@pytest.mark.parametrize("name", ["Background", "_background_"])
def test_any_background_name_has_no_category(name):
    ids = new_coco_ids(["a.png"], [name, "cat"])
    assert ids.categories == [{"id": 2, "name": "cat"}]
    assert object_palette([name, "cat"]) == ((0, 0, 0), (0, 128, 0))
