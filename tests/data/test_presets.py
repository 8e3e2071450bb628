"""Data sets that people download: their layouts, names, values and colours, drawn small."""

from collections import Counter

import numpy as np
import pytest
from helpers.small_runs import config
from PIL import Image

from hypercolumns.data.index import read_example
from hypercolumns.errors import HypercolumnsError
from hypercolumns.io.masks import read_mask
from hypercolumns.settings.data import image_index

# The ids from 1 to 182 of COCO-Stuff, less one and without its unused ones: street sign, hat, shoe, eye glasses, plate,
# mirror, window, desk, door, blender, hair brush; and unlabeled.
UNUSED_IDS = (12, 26, 29, 30, 45, 66, 68, 69, 71, 83, 91)
COCO_STUFF_VALUES = [*(id - 1 for id in range(1, 183) if id not in UNUSED_IDS), 255]
CITYSCAPES_IDS = [7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33]


def save(path, values, palette=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(values)
    if palette is not None:
        image.putpalette(palette)
    image.save(path)


def write(root, names, values, palette=None):
    """Write two images and masks, which hold all values; `names` are the paths of an image and of its mask."""
    row = np.array([values], np.uint8)
    for image, mask in names:
        save(root / image, np.zeros((*row.shape, 3), np.uint8))
        save(root / mask, row, palette)


def city(name, mask):
    return f"leftImg8bit/{name}_leftImg8bit.png", f"gtFine/{name}_gtFine_{mask}.png"


PRESETS = {
    "cityscapes": ([city("train/ulm/u_1", "labelIds"), city("val/bonn/b_1", "labelIds")], range(34), 19, None),
    "cityscapes_train_ids": (
        [city("train/ulm/u_1", "labelTrainIds"), city("val/bonn/b_1", "labelTrainIds")],
        [*range(19), 255],
        19,
        None,
    ),
    "ade20k": (
        [
            ("images/training/ADE_train_1.jpg", "annotations/training/ADE_train_1.png"),
            ("images/validation/ADE_val_1.jpg", "annotations/validation/ADE_val_1.png"),
        ],
        range(151),
        150,
        None,
    ),
    "coco_stuff": (
        [
            ("images/train2017/1.jpg", "annotations/train2017/1.png"),
            ("images/val2017/2.jpg", "annotations/val2017/2.png"),
        ],
        COCO_STUFF_VALUES,
        171,
        None,
    ),
    "mapillary": (
        [("training/images/a.jpg", "training/labels/a.png"), ("validation/images/b.jpg", "validation/labels/b.png")],
        range(66),
        65,
        [channel for value in range(256) for channel in (value, 0, 255 - value)],
    ),
    "mapillary_v2": (
        [
            ("training/images/a.jpg", "training/v2.0/labels/a.png"),
            ("validation/images/b.jpg", "validation/v2.0/labels/b.png"),
        ],
        range(124),
        123,
        None,
    ),
}


def void_of(name, values):
    if name == "cityscapes":
        return {value for value in values if value not in CITYSCAPES_IDS}
    return {"ade20k": {0}, "mapillary": {65}, "mapillary_v2": {123}}.get(name, {255})


@pytest.mark.parametrize("name", PRESETS)
def test_preset_reads_its_layout_and_values(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    names, values, classes, palette = PRESETS[name]
    write(tmp_path / "set", names, list(values), palette)
    encoding = ["data.encoding=values"] if palette else []  # invented colours
    images = image_index(config("train", f"data={name}", "data.root=set", *encoding))
    assert (len(images.classes), len(images.palette)) == (classes, classes)
    assert {split: len(pairs) for split, pairs in images.splits.items()} == {"train": 1, "val": 1}
    index, expected = 0, []
    for value in values:
        void = value in void_of(name, values)
        expected.append(255 if void else index)
        index += not void
    for pairs in images.splits.values():
        assert read_mask(pairs[0].mask, images.scheme).tolist() == [expected]


def test_camvid_as_published(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    colours = {"Animal": (64, 128, 64), "Road": (128, 64, 128), "Void": (0, 0, 0)}
    for number in range(5):
        save(tmp_path / f"set/701_StillsRaw_full/{number}.png", np.zeros((1, 3, 3), np.uint8))
        save(tmp_path / f"set/LabeledApproved_full/{number}_L.png", np.array([[*colours.values()]], np.uint8))
    lines = [" ".join(map(str, colour)) + f"\t{name}" for name, colour in colours.items()]
    (tmp_path / "set/label_colors.txt").write_text("\n".join(lines))
    images = image_index(config("train", "data=camvid", "data.root=set"))
    assert images.classes == ("Animal", "Road")
    assert read_example(images.splits["val"][0], images.scheme)[1].tolist() == [[0, 1, 255]]


MERGED = {  # the number of COCO-Stuff's classes in each super-category, counted in the figure of its hierarchy
    **{"person-things": 1, "vehicle-things": 8, "outdoor-things": 5, "animal-things": 10, "accessory-things": 5},
    **{"sports-things": 10, "kitchen-things": 7, "food-things": 10, "furniture-things": 6, "electronic-things": 6},
    **{"appliance-things": 5, "indoor-things": 7, "rawmaterial-stuff": 4, "wall-stuff": 7, "ceiling-stuff": 2},
    **{"floor-stuff": 6, "window-stuff": 2, "furniture-stuff": 11, "textile-stuff": 11, "food-stuff": 4},
    **{"building-stuff": 6, "structural-stuff": 5, "plant-stuff": 9, "sky-stuff": 2, "solid-stuff": 6},
    **{"ground-stuff": 11, "water-stuff": 5},
}


def test_coco_stuff_merged_into_27(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = [("train2017/1.jpg", "stuffthingmaps/train2017/1.png"), ("val2017/2.jpg", "stuffthingmaps/val2017/2.png")]
    write(tmp_path / "set", names, COCO_STUFF_VALUES)
    places = ["data.images=.", "data.masks=stuffthingmaps"]
    images = image_index(config("train", "data=coco_stuff_27", "data.root=set", *places))
    indices = read_mask(images.splits["val"][0].mask, images.scheme)[0].tolist()
    merged = [images.classes[index] for index in indices[:-1]]
    assert Counter(merged) == MERGED
    assert indices[-1] == 255
    of_value = dict(zip(COCO_STUFF_VALUES[:-1], merged, strict=True))
    animal, textile, sky, solid = "animal-things", "textile-stuff", "sky-stuff", "solid-stuff"
    examples = {0: "person-things", 24: animal, 91: textile, 130: textile, 156: sky, 181: solid}  # giraffe, banner, mat
    assert {value: of_value[value] for value in examples} == examples


def test_coco_stuff_knows_names_of_values(tmp_path):
    classes = config("train", "data=coco_stuff").data.classes  # ids less one, from the list of its authors
    named = {0: "person", 12: "stop sign", 89: "toothbrush", 91: "banner", 131: "metal", 148: "road", 181: "wood"}
    assert {value: classes[value] for value in named} == named


def test_unused_value_of_coco_stuff_stops(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "set", PRESETS["coco_stuff"][0], [*COCO_STUFF_VALUES, 11])
    with pytest.raises(HypercolumnsError, match=r"2 masks, such as .*, hold values that are no class: 11; 171 classes"):
        image_index(config("train", "data=coco_stuff", "data.root=set"))
