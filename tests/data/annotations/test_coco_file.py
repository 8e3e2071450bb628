"""What the entries of COCO files mean where programs write them differently, and where they contradict each other."""

import json

import numpy as np
import pytest
from helpers.annotated import box, labels, object_of, runs, save_coco, save_images
from PIL import Image

from hypercolumns.data import coco
from hypercolumns.errors import HypercolumnsError

NAMES = ["a.png", "b.png", "c.png"]
IDS = [7, 17, 27]
ROAD, CAR = box(0, 5, 12, 9), box(3, 4, 7, 8)
EXPECTED = np.where(CAR, 2, np.where(ROAD, 1, 0))
OBJECTS = [entry for id in IDS for entry in (object_of(id, 3, runs(ROAD)), object_of(id, 90, runs(CAR)))]


def read(folder, change=lambda content: None, **settings):
    """Save three images with a road and a car, change the content of the COCO file, and index it."""
    save_images(folder / "images", NAMES)
    file = folder / "annotations/instances_default.json"
    save_coco(file, NAMES, OBJECTS)
    content = json.loads(file.read_text())
    change(content)
    file.write_text(json.dumps(content))
    return coco(folder, **settings)


def set_field(key, field, values):
    def change(content):
        for entry, value in zip(content[key], values, strict=False):
            entry[field] = value

    return change


@pytest.mark.parametrize("plain", [0, False, 0.0, "0", "false", "False", " 0", None])
def test_no_crowd_in_any_form(tmp_path, plain):
    index = read(tmp_path, set_field("annotations", "iscrowd", [plain] * 6))
    assert (labels(index)["a"] == EXPECTED).all()


@pytest.mark.parametrize("crowd", [1, True, "1", "true", "TRUE"])
def test_crowd_in_any_form(tmp_path, crowd):
    index = read(tmp_path, set_field("annotations", "iscrowd", [crowd] * 2), crowds="void")
    assert index.notes[-1].startswith("2 of 6 objects have iscrowd=1 and are void")
    assert (labels(index)["a"] == np.where(CAR | ROAD, 255, 0)).all()
    assert (labels(index)["b"] == EXPECTED).all()


@pytest.mark.parametrize("crowd", [2, -1, "no", "", [0], 0.5])
def test_unknown_crowd_is_refused(tmp_path, crowd):
    message = r"default\.json: the annotation 1 has iscrowd=.*; it must be 0 \(an object\) or 1"
    with pytest.raises(HypercolumnsError, match=message):
        read(tmp_path, set_field("annotations", "iscrowd", [crowd]))


@pytest.mark.parametrize(
    "change",
    [
        set_field("annotations", "image_id", ["7", "7", "17", "17", "027", " 27"]),
        set_field("annotations", "category_id", ["3", "90"] * 3),
        set_field("images", "id", map(str, IDS)),
        set_field("categories", "id", ["3", 90]),
    ],
)
def test_ids_of_another_type_are_matched(tmp_path, change):
    index = read(tmp_path, change)
    assert index.classes == ("background", "road", "car")
    assert all((mask == EXPECTED).all() for mask in labels(index).values())


def test_ids_that_are_texts_stay_apart(tmp_path):
    def change(content):
        set_field("images", "id", ["1", "01", 1])(content)
        set_field("annotations", "image_id", ["1", "1", "01", "01", 1, 1])(content)

    assert all((mask == EXPECTED).all() for mask in labels(read(tmp_path, change)).values())
    with pytest.raises(HypercolumnsError, match=r"the image_id '001' may mean each of the ids '1', '01', 1; write all"):
        read(tmp_path, lambda content: (change(content), set_field("annotations", "image_id", ["001"])(content)))


def test_orphans_are_noted_or_stop(tmp_path):
    index = read(tmp_path, set_field("annotations", "image_id", [99, 99, 99]))
    assert index.notes[0].endswith("3 annotations of images that the file does not list are left out")
    message = r"4 of 6 annotations have an image_id that is not in the list of images \(98, 99\); export the file again"
    with pytest.raises(HypercolumnsError, match=message):
        read(tmp_path, set_field("annotations", "image_id", [98, 99, 99, 99]))


def third_category(**fields):
    def change(content):
        content["categories"].append({"id": 5, "name": "car"} | fields)
        content["annotations"][1]["category_id"] = 5
        content["categories"][1]["supercategory"] = "vehicle"

    return change


@pytest.mark.parametrize("fields", [{}, {"supercategory": "vehicle"}, {"supercategory": ""}, {"supercategory": "none"}])
def test_categories_of_one_name_are_one_class(tmp_path, fields):
    index = read(tmp_path, third_category(**fields))
    assert index.classes == ("background", "road", "car")
    assert index.notes[0].endswith("the categories 5, 90 have the name car and are one class")
    assert (labels(index)["a"] == EXPECTED).all()


def test_categories_of_two_meanings_stop(tmp_path):
    message = r"several categories with the name car \(ids 5, 90\), of the supercategories train, vehicle; give them"
    with pytest.raises(HypercolumnsError, match=message):
        read(tmp_path, third_category(supercategory="train"))


def test_unused_category_of_one_name_is_no_matter(tmp_path):
    """Roboflow lists a category of the project's name, which is often also that of a class."""

    def change(content):
        content["categories"].append({"id": 0, "name": "car", "supercategory": "none"})
        content["categories"][1]["supercategory"] = "car"

    index = read(tmp_path, change)
    assert index.classes == ("background", "car", "road")
    assert len(index.notes) == 1


def panoptic(folder, *entries):
    save_images(folder / "val2017", NAMES)
    masks = folder / "annotations/panoptic_val2017"
    masks.mkdir(parents=True, exist_ok=True)
    for name in NAMES:
        red = np.where(CAR, 2, np.where(ROAD, 1, 0)).astype(np.uint8)
        Image.fromarray(np.stack([red, 0 * red, 0 * red], -1)).save(masks / name)
    save_coco(masks.with_suffix(".json"), NAMES, entries)
    return coco(folder, annotations=masks.with_suffix(".json"), unannotated="void")


def segments(*pairs):
    return [{"id": id, "category_id": category, "iscrowd": 0} for id, category in pairs]


def test_contradicting_segments_stop(tmp_path):
    plain = segments((1, 3), (2, 90))
    entries = [
        {"image_id": str(id), "file_name": name, "segments_info": plain} for id, name in zip(IDS, NAMES, strict=True)
    ]
    expected = np.where(CAR, 1, np.where(ROAD, 0, 255))
    assert (labels(panoptic(tmp_path, *entries))["a"] == expected).all()
    twice = {**entries[0], "segments_info": [*plain, *segments((2, 90))]}
    assert (labels(panoptic(tmp_path, twice, *entries[1:]))["a"] == expected).all()
    with pytest.raises(HypercolumnsError, match=r"lists the segments of the image 7 twice \(a\.png, a\.png\); remove"):
        panoptic(tmp_path, *entries, entries[0])
    different = {**entries[0], "segments_info": [*plain, *segments(("2", 3))]}
    with pytest.raises(HypercolumnsError, match=r"the segment 2 of a\.png twice, with different categories or iscrowd"):
        panoptic(tmp_path, different, *entries[1:])
    lost = [{**entry, "image_id": 99} for entry in entries]
    with pytest.raises(HypercolumnsError, match=r"6 of 6 annotations have an image_id that is not in the list of im"):
        panoptic(tmp_path, *lost)
