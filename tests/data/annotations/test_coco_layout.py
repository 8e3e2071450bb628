"""Which COCO files and which folders of images a data set is read from, where several could be meant."""

import itertools

import pytest
from helpers.annotated import SIZE, box, object_of, runs, save_coco, save_images

from hypercolumns.data import coco
from hypercolumns.data.datasets.auto import auto
from hypercolumns.errors import HypercolumnsError

NAMES = ["a.png", "b.png", "c.png"]
OBJECTS = [object_of(id, 3, runs(box(0, 5, 12, 9))) for id in (7, 17, 27)]


def save(folder, *files, names=NAMES):
    for file in files:
        save_coco(folder / file, names, OBJECTS[: len(names)])
    return folder


def images_of(index):
    return sorted(pair.image for of_split in index.splits.values() for pair in of_split)


@pytest.mark.parametrize("task", ["instances", "panoptic"])
@pytest.mark.parametrize("val", ["val", "Val", "VALID2017", "validation_2", "dev"])
def test_val_file_is_found_in_any_case(tmp_path, val, task):
    save_images(tmp_path / "images", NAMES)
    save_images(tmp_path / "images" / val.lower(), ["d.png"])
    save(tmp_path, f"annotations/{task}_Train.json")
    save(tmp_path, f"annotations/{task}_{val}.json", names=["d.png"])
    index = coco(tmp_path, task=task)
    assert [pair.image.name for pair in index.splits["val"]] == ["d.png"]
    assert len(index.splits["train"]) == 3


def test_unused_files_are_noted(tmp_path):
    save_images(tmp_path / "images", NAMES)
    files = ["train", "val", "test-dev2017", "minival"]
    save(tmp_path, *(f"annotations/instances_{split}.json" for split in files), "annotations/captions_train.json")
    expected = "COCO files that are not used: annotations/instances_minival.json, annotations/instances_test-dev2017."
    assert coco(tmp_path).notes[0].startswith(expected)
    for split in ("val", "minival"):
        (tmp_path / f"annotations/instances_{split}.json").unlink()
    (tmp_path / "annotations/categories.json").write_text('[{"id": 3, "name": "road"}]')
    index = coco(tmp_path)
    assert index.notes[0] == "COCO files that are not used: annotations/instances_test-dev2017.json"
    assert len(images_of(index)) == 3


@pytest.mark.parametrize("other", ["annotations/instances_holdout.json", "annotations/holdout.json", "val.json"])
def test_file_that_may_be_val_stops(tmp_path, other):
    save_images(tmp_path / "images", NAMES)
    save(tmp_path, "annotations/instances_train.json", other)
    with pytest.raises(HypercolumnsError, match=rf"has several COCO files: .*{other}.*; choose by data\.annotations="):
        coco(tmp_path)
    assert len(images_of(coco(tmp_path, annotations="annotations/instances_train.json"))) == 3


def test_single_file_is_split(tmp_path):
    save_images(tmp_path / "images", NAMES)
    save(tmp_path, "annotations/instances_default.json")
    assert not any("not used" in note for note in coco(tmp_path).notes)
    save(tmp_path, "annotations/instances_test.json")
    assert coco(tmp_path).notes[0] == "COCO files that are not used: annotations/instances_test.json"


@pytest.mark.parametrize("others", [NAMES[:1], NAMES[:2], ["x.png"]])
def test_named_folder_must_hold_the_images(tmp_path, others):
    """A folder with the name of the JSON file, which holds some images of the same names, does not beat `images`."""
    save_images(tmp_path / "default", others)
    save_images(tmp_path / "images", NAMES)
    save(tmp_path, "annotations/instances_default.json")
    assert images_of(coco(tmp_path)) == [tmp_path / "images" / name for name in NAMES]


def test_several_folders_of_images_stop(tmp_path):
    save_images(tmp_path / "default", NAMES)
    save_images(tmp_path / "images", NAMES)
    save(tmp_path, "annotations/instances_default.json")
    message = r"a\.png of .*default\.json may be .*default/a\.png or .*images/a\.png; give the folder of .*images="
    with pytest.raises(HypercolumnsError, match=message):
        coco(tmp_path)
    assert images_of(coco(tmp_path, images="images")) == [tmp_path / "images" / name for name in NAMES]
    assert images_of(coco(tmp_path, images="default")) == [tmp_path / "default" / name for name in NAMES]
    for name in NAMES:
        (tmp_path / "images" / name).unlink()
        (tmp_path / "images" / name).symlink_to(tmp_path / "default" / name)
    assert images_of(coco(tmp_path)) == [tmp_path / "default" / name for name in NAMES]


def test_images_in_two_folders_stop(tmp_path):
    save_images(tmp_path / "default", NAMES[:2])
    save_images(tmp_path / "images", NAMES[2:])
    save(tmp_path, "annotations/instances_default.json")
    message = r"no folder holds all images of .*: a\.png may be .*default/a\.png, and c\.png .*images/c\.png; put the"
    with pytest.raises(HypercolumnsError, match=message):
        coco(tmp_path)


@pytest.mark.parametrize(
    ("file", "images"),
    [
        *itertools.product(["ann/instances_train.json", "ann/instances.json", "ann/a.json"], ["images", "photos", "."]),
        ("ann/instances_train.json", "photos/train"),
    ],
)
def test_files_in_a_folder_of_any_name(tmp_path, file, images):
    save_images(tmp_path / images, NAMES)
    save(tmp_path, file)
    (tmp_path / "meta.json").write_text("{}")
    expected = [tmp_path / images / name for name in NAMES]
    assert images_of(coco(tmp_path)) == images_of(coco(tmp_path, annotations=file)) == expected
    assert images_of(auto(tmp_path)) == expected
    save_images(tmp_path / "elsewhere", NAMES)
    if images.startswith("photos"):
        message = r"may be .*elsewhere/a\.png or .*; give the .* by data\.images=.*/elsewhere or data\.images=.*photos"
        with pytest.raises(HypercolumnsError, match=message):
            coco(tmp_path)
    assert images_of(coco(tmp_path, images=images)) == expected


def test_annotations_folder_beats_other_folders(tmp_path):
    save_images(tmp_path / "images", NAMES)
    save(tmp_path, "annotations/mine.json", "backup/instances_train.json", "backup/mine.json")
    (pair, *_) = coco(tmp_path).splits["train"]
    assert pair.mask.path == tmp_path / "annotations/mine.json"


def test_several_folders_of_files_stop(tmp_path):
    save_images(tmp_path / "images", NAMES)
    save(tmp_path, "ann/mine.json", "backup/mine.json")
    message = r"several COCO files: ann/mine\.json, .*; choose by .*, such as data\.annotations=ann/mine\.json,"
    with pytest.raises(HypercolumnsError, match=message):
        coco(tmp_path)


def test_elsewhere_all_images_are_needed(tmp_path):
    save_images(tmp_path / "photos", NAMES[:2])
    save(tmp_path, "ann/mine.json")
    with pytest.raises(HypercolumnsError, match=r"none of the 3 images of .*; give the folder by data\.images="):
        coco(tmp_path)


def test_case_of_suffix_may_differ(tmp_path):
    save_images(tmp_path / "images", ["a.PNG", "b.Png", "c.png", "c.PNG"])
    save(tmp_path, "annotations/mine.json")
    assert [path.name for path in images_of(coco(tmp_path))] == ["a.PNG", "b.Png", "c.png"]
    save_images(tmp_path / "images", ["a.Png"])
    message = r"images/a\.png does not exist, but may be .*/a\.PNG or .*/a\.Png; rename the right one to .*/a\.png"
    with pytest.raises(HypercolumnsError, match=message):
        coco(tmp_path)


@pytest.mark.parametrize("images", ["images", "photos"])
def test_upload_prefix_is_left_out(tmp_path, images):
    prefixed = [f"images/{number}a2b3c4d-{name}" for number, name in enumerate(NAMES)]
    save_images(tmp_path / images, NAMES)
    save(tmp_path, "result.json", names=prefixed)
    assert images_of(coco(tmp_path)) == [tmp_path / images / name for name in NAMES]
    save_images(tmp_path / "images", [name.removeprefix("images/") for name in prefixed])
    assert images_of(coco(tmp_path)) == [tmp_path / name for name in prefixed]


def test_one_rule_holds_for_all_names(tmp_path):
    """Of `old/set/a.png` and `old/set/day/a.png`, two folders are left out; three would mix the images up."""
    save_images(tmp_path / "images", ["a.png", "b.png"])
    save_images(tmp_path / "images/day", ["a.png"])
    save(tmp_path, "annotations/instances_default.json", names=["/old/set/a.png", "/old/set/day/a.png"])
    index = coco(tmp_path)
    assert images_of(index) == [tmp_path / "images/a.png", tmp_path / "images/day/a.png"]
    assert {pair.id for of_split in index.splits.values() for pair in of_split} == {"a", "day/a"}


def test_names_that_would_share_a_file_stop(tmp_path):
    save_images(tmp_path / "images", NAMES)
    save(tmp_path, "annotations/instances_default.json", names=["day/a.png", "night/a.png", "day/b.png"])
    message = r"day/a\.png and night/a\.png of .* would both be .*images/a\.png; put the images into the folders"
    with pytest.raises(HypercolumnsError, match=message):
        coco(tmp_path)


def test_exact_path_beats_base_name(tmp_path):
    save_images(tmp_path / "images/default", NAMES)
    save_images(tmp_path / "images", NAMES)
    names = [f"default/{name}" for name in NAMES]
    save(tmp_path, "annotations/instances_default.json", names=names)
    assert images_of(coco(tmp_path)) == [tmp_path / "images" / name for name in names]


def test_missing_image_is_listed_where_others_are(tmp_path):
    save_images(tmp_path / "images", NAMES[:2], SIZE)
    save(tmp_path, "annotations/instances_default.json", names=[f"D:\\x\\{name}" for name in NAMES])
    assert images_of(coco(tmp_path)) == [tmp_path / "images" / name for name in NAMES]


@pytest.mark.parametrize("name", ["", "/", "./"])
def test_image_without_a_file_name_stops(tmp_path, name):
    save_images(tmp_path / "images", NAMES)
    save(tmp_path, "annotations/instances_default.json", names=[name, *NAMES[1:]])
    with pytest.raises(HypercolumnsError, match=r"names no file for 1 images \(ids 7\); write the file_name of each"):
        coco(tmp_path)
