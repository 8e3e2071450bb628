"""COCO files as data sets: their layouts, classes, crowds and images without annotations."""

import json

import numpy as np
import pytest
from helpers.annotated import SIZE, box, corners, labels, object_of, runs, save_coco, save_images
from PIL import Image

from hypercolumns.data import coco
from hypercolumns.data.labelling import LabelSettings, label_scheme
from hypercolumns.data.mask_survey import survey_masks
from hypercolumns.errors import HypercolumnsError

NAMES = ["a.png", "b.png", "c.png"]
ROAD, CAR = box(0, 5, 12, 9), box(3, 4, 7, 8)


def objects(*ids, **fields):
    """Return a road and a car on it, as a polygon and as run lengths, for each image."""
    return [
        entry
        for id in ids
        for entry in (object_of(id, 3, [corners(0, 5, 12, 9)]), object_of(id, 90, runs(CAR), **fields))
    ]


@pytest.fixture
def place(tmp_path):
    save_images(tmp_path / "images/default", NAMES)
    return tmp_path


def save(place, listed=None, **settings):
    save_coco(place / "annotations/instances_default.json", NAMES, listed or objects(7, 17, 27), **settings)
    return place


def test_ids_may_have_gaps_and_any_order(place):
    save(place, objects(27, 7, 17), categories=((90, "car"), (3, "road")))
    index = coco(place)
    assert index.classes == ("background", "road", "car")
    assert {len(of_split) for of_split in index.splits.values()} == {1, 2}
    expected = np.where(CAR, 2, np.where(ROAD, 1, 0))
    assert set(labels(index)) == {"a", "b", "c"}
    assert all((found == expected).all() for found in labels(index).values())
    assert index.notes == (
        "pixels without an object are of class background; if they are not annotated: data.unannotated=void",
    )


@pytest.mark.parametrize(
    ("settings", "classes", "values"),
    [
        ({"unannotated": "void"}, ("road", "car"), (255, 0, 1)),
        ({"unannotated": "car"}, ("road", "car"), (1, 0, 1)),
        ({"unannotated": "sky"}, ("sky", "road", "car"), (0, 1, 2)),
        ({"classes": ["car", "road"]}, ("background", "car", "road"), (0, 2, 1)),
        ({"classes": ["car", "road", "sky"]}, ("background", "car", "road", "sky"), (0, 2, 1)),
        ({"classes": ["car", "background", "road"]}, ("car", "background", "road"), (1, 2, 0)),
    ],
)
def test_classes_and_unannotated_pixels(place, settings, classes, values):
    index = coco(save(place), **settings)
    assert index.classes == classes
    outside, road, car = values
    assert (labels(index)["a"] == np.where(CAR, car, np.where(ROAD, road, outside))).all()


def test_unused_category_need_not_be_listed(place):
    save(place, categories=((3, "road"), (90, "car"), (91, "sky")))
    assert coco(place).classes == ("background", "road", "car", "sky")
    assert coco(place, classes=["road", "car"]).classes == ("background", "road", "car")


def test_background_keeps_listed_colours_apart(place):
    index = coco(save(place), classes=["road", "car"], palette=["#000000", "#800000"])
    assert index.palette == ((0, 128, 0), (0, 0, 0), (128, 0, 0))


@pytest.mark.parametrize(
    ("settings", "classes"),
    [
        ({}, "background road car"),
        ({"classes": ["car", "road"]}, "background car road"),
        ({"classes": ["car", "background", "road"]}, "car background road"),
        ({"unannotated": "sky"}, "sky road car"),
        ({"unannotated": "void"}, "road car"),
        ({"unannotated": "car"}, "road car"),
    ],
)
def test_voc_colours_begin_after_background(place, settings, classes):
    """Pascal VOC's background is black, its first object dark red and its second dark green."""
    index = coco(save(place), palette="voc", **settings)
    objects = iter([(128, 0, 0), (0, 128, 0)])
    expected = [(0, 0, 0) if name in ("background", "sky") else next(objects) for name in classes.split()]
    assert index.classes == tuple(classes.split())
    assert index.palette == tuple(expected)


def test_voc_colours_of_listed_values(place):
    """The person of Pascal VOC has the value 15, so its colour is (192, 128, 128)."""
    save(place, categories=((3, "road"), (90, "person")))
    index = coco(place, classes={7: "road", 15: "person"}, palette="voc")
    assert index.palette == ((0, 0, 0), (128, 128, 128), (192, 128, 128))


def test_category_background_is_background(place):
    save(place, categories=((3, "road"), (90, "car"), (91, "background")))
    assert coco(place).classes == ("road", "car", "background")
    assert (labels(coco(place))["b"] == np.where(CAR, 1, np.where(ROAD, 0, 2))).all()


def test_images_that_differ_in_suffix(tmp_path):
    names = ["0.png", "0.bmp", "1.png"]
    save_images(tmp_path / "images", names)
    save_coco(tmp_path / "annotations/mine.json", names, [object_of(7, 3, runs(CAR)), object_of(17, 3, runs(ROAD))])
    found = labels(coco(tmp_path))
    assert sorted(found) == ["0.bmp", "0.png", "1"]
    assert (found["0.png"] == CAR).all()
    assert (found["0.bmp"] == ROAD).all()
    (tmp_path / "val.txt").write_text("0.bmp\n")
    (tmp_path / "train.txt").write_text("0.png\n1\n")
    index = coco(tmp_path, train="train.txt", val="val.txt")
    assert [pair.image.name for pair in index.splits["val"]] == ["0.bmp"]


@pytest.mark.parametrize("name", ["background", "Background", "_background_", "_BACKGROUND_"])
def test_any_background_name_is_background(place, name):
    save(place, categories=((3, "road"), (90, "car"), (91, name)))
    assert coco(place).classes == ("road", "car", name)
    expected = np.where(CAR, 1, np.where(ROAD, 0, 2))
    assert (labels(coco(place))["b"] == expected).all()
    assert (labels(coco(place, classes=["road", "car", "BackGround"]))["b"] == expected).all()


def test_too_many_categories_stop(place):
    """More than 255 names do not fit the labels, but only those that objects have must be listed."""
    save(place, categories=((3, "road"), (90, "car"), *((id, f"c{id}") for id in range(100, 400))))
    with pytest.raises(
        HypercolumnsError, match=r"name 302 classes, .* 255 at most; list .* by data\.classes=, or merge"
    ):
        coco(place)
    assert coco(place, classes=["road", "car"]).classes == ("background", "road", "car")


def test_category_null_stops(place):
    save(place, categories=((3, "road"), (90, None)))
    with pytest.raises(HypercolumnsError, match=r"categories whose name is null \(ids 90\); give each category a name"):
        coco(place)


def test_lacking_names_show_the_list(place):
    with pytest.raises(HypercolumnsError, match=r"^classes=road, sky lacks names that the annotations have: car; list"):
        coco(save(place), classes=["road", "sky"])


def test_class_void_is_kept_by_void_none(place, tmp_path):
    index = coco(save(place, categories=((3, "road"), (90, "void"))))
    survey = survey_masks(index, tmp_path / "checks")
    with pytest.raises(HypercolumnsError, match=r"set data\.void=void to .*, or data\.void=none if it is a class like"):
        label_scheme(index, survey, LabelSettings())
    assert label_scheme(index, survey, LabelSettings(void="none"))[0].classes == ("background", "road", "void")
    assert label_scheme(index, survey, LabelSettings(void="void"))[0].classes == ("background", "road")


@pytest.mark.parametrize(("crowds", "car"), [("void", 255), ("object", 2)])
def test_crowds_are_void_or_objects(place, crowds, car):
    index = coco(save(place, objects(7, 17, 27, iscrowd=1)), crowds=crowds)
    expected = np.where(CAR & ~ROAD, car, np.where(ROAD & CAR & (crowds == "object"), 2, np.where(ROAD, 1, 0)))
    assert (labels(index)["a"] == expected).all()
    assert index.notes[-1].startswith("3 of 6 objects have iscrowd=1 and are ")


def test_many_crowds_stop(place):
    """Programs that write run lengths set `iscrowd` for plain objects; these must not silently become void."""
    save(place, objects(7, iscrowd=1) + objects(17, 27))
    message = (
        r"^crowds=auto: 1 of 3 objects of car have iscrowd=1, .*; set data\.crowds=object if .*, or data\.crowds=void"
    )
    with pytest.raises(HypercolumnsError, match=message):
        coco(place)
    save(place, objects(7, iscrowd=1) + 2 * objects(17, 27))
    index = coco(place)
    assert labels(index)["a"][4, 3] == 255
    assert "1 of 10 objects have iscrowd=1 and are void" in index.notes[-1]


def test_empty_image_is_background_or_unlabelled(place):
    save(place, objects(7, 17))
    index = coco(place)
    assert (labels(index)["c"] == 0).all()
    assert index.notes[-1].startswith("1 of 3 images have no annotation and count as images without objects; if")
    index = coco(place, empty="unlabelled")
    assert [pair.mask.annotated for of_split in index.splits.values() for pair in of_split].count(False) == 1


def test_overlaps_are_a_setting(place):
    save(place, [object_of(7, 90, runs(CAR)), object_of(7, 3, runs(ROAD)), *objects(17, 27)])
    assert labels(coco(place))["a"][6, 4] == 1
    assert labels(coco(place, overlaps="smaller_on_top"))["a"][6, 4] == 2


@pytest.mark.parametrize(
    "layout",
    ["train2017", "images/train2017", "roboflow", "named"],
)
def test_layouts_are_found(tmp_path, layout):
    """COCO's own, Datumaro's and Roboflow's layouts, with files of the same names in both splits."""
    for split, val in (("train", False), ("val", True)):
        names = NAMES[:1] if val else NAMES
        folder = {"roboflow": "valid" if val else "train", "named": f"photos_{split}"}.get(layout)
        folder = folder or layout.replace("train", split)
        file = f"{folder}/_annotations.coco.json" if layout == "roboflow" else f"annotations/instances_{split}2017.json"
        save_images(tmp_path / folder, names)
        listed = [f"D:\\old\\{folder}\\{name}" for name in names] if layout == "named" else names
        save_coco(tmp_path / file, listed, objects(*[7, 17, 27][: len(names)]))
    files = ("annotations/instances_train2017.json", "annotations/instances_val2017.json")
    named = {"annotations": files[0], "val_annotations": files[1], "images": "."} if layout == "named" else {}
    index = coco(tmp_path, **named)
    ids = {split: [pair.id for pair in of_split] for split, of_split in index.splits.items()}
    if layout == "named":
        assert ids == {"train": [f"photos_train/{name}" for name in "abc"], "val": ["photos_val/a"]}
    else:
        assert ids == {"train": ["train/a", "train/b", "train/c"], "val": ["val/a"]}
    assert all(pair.image.is_file() for of_split in index.splits.values() for pair in of_split)


def test_category_that_only_groups_is_left_out(tmp_path):
    save_images(tmp_path / "train", NAMES)
    file = tmp_path / "train/_annotations.coco.json"
    save_coco(file, NAMES, objects(7, 17, 27), categories=((0, "traffic"), (3, "road"), (90, "car")))
    content = json.loads(file.read_text())
    for category in content["categories"]:
        category["supercategory"] = "none" if category["id"] == 0 else "traffic"
    file.write_text(json.dumps(content))
    index = coco(tmp_path)
    assert index.classes == ("background", "road", "car")
    assert index.notes[0].endswith("the category traffic is no class, as it only groups others")


def test_panoptic_segments_are_read(tmp_path):
    """The id of a segment is red + 256 green + 65536 blue."""
    save_images(tmp_path / "val2017", NAMES)
    ids = np.where(CAR, 1 + 2 * 256 + 3 * 65536, np.where(ROAD, 300, 0))
    rgb = np.stack([ids % 256, ids // 256 % 256, ids // 65536], -1).astype(np.uint8)
    segments = [{"id": 300, "category_id": 3, "iscrowd": 0}, {"id": 197121, "category_id": 90, "iscrowd": 0}]
    for name in NAMES:
        (tmp_path / "annotations/panoptic_val2017").mkdir(parents=True, exist_ok=True)
        Image.fromarray(rgb).save(tmp_path / "annotations/panoptic_val2017" / name)
    listed = [
        {"image_id": id, "file_name": name, "segments_info": segments}
        for id, name in zip((7, 17, 27), NAMES, strict=True)
    ]
    file = tmp_path / "annotations/panoptic_val2017.json"
    save_coco(file, NAMES, listed)
    index = coco(tmp_path, annotations=file, unannotated="void")
    assert (labels(index)["a"] == np.where(CAR, 1, np.where(ROAD, 0, 255))).all()
    assert index.notes == ("pixels without a segment are void",)
    listed[0] = {**listed[0], "segments_info": segments[:1]}
    before = index.fingerprint()
    save_coco(file, NAMES, listed)
    index = coco(tmp_path, annotations=file, unannotated="void")
    assert index.fingerprint() != before
    with pytest.raises(HypercolumnsError, match=r"a\.png has segments that .*\.json does not list \(197121\); export"):
        labels(index)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda text: text[:-3],
            r"^annotations=.*instances_default\.json is not valid JSON \(.*\); export the file aga",
        ),
        (
            lambda text: "[]",
            r"is not a COCO file of instances or panoptic segments \(.*\); it must hold the lists images",
        ),
        (
            lambda text: text.replace('"id": 90', '"id": 91'),
            r"3 annotations have a category_id that is .* \(90\); add th",
        ),
        (
            lambda text: text.replace(".png", ".tif"),
            r"^images: none of the 3 images of .* is in .*; give the folder by data\.i",
        ),
        (
            lambda text: text.replace('"id": 17', '"id": 7'),
            r"has several images with the same id; export the file again",
        ),
        (lambda text: text.replace("b.png", "a.png"), r"lists images twice \(.*/a\.png\); list each image once, with"),
    ],
)
def test_wrong_file_is_named(place, change, message):
    file = save(place) / "annotations/instances_default.json"
    file.write_text(change(file.read_text()))
    with pytest.raises(HypercolumnsError, match=message):
        coco(place)


def test_unclear_arguments_are_named(place):
    with pytest.raises(
        HypercolumnsError, match=r"^root=.* has no COCO files: annotations/instances_\*\.json, train/_ann"
    ):
        coco(place)
    with pytest.raises(HypercolumnsError, match=r"^annotations=None must be a JSON file; give it, or data\.root="):
        coco()
    for year in (2014, 2017):
        save_coco(place / f"annotations/instances_train{year}.json", NAMES, objects(7))
    with pytest.raises(
        HypercolumnsError, match=r"has several COCO files: annotations/instances_train2014\.json, .*choose"
    ):
        coco(place)
    with pytest.raises(HypercolumnsError, match=r"^classes=road lacks names that the annotations have: car; list"):
        coco(place, annotations="annotations/instances_train2014.json", classes=["road"])


def test_size_comes_from_image_if_not_listed(place):
    save(place)
    file = place / "annotations/instances_default.json"
    file.write_text(file.read_text().replace(f'"height": {SIZE[0]}, ', ""))
    assert labels(coco(place))["a"].shape == SIZE
