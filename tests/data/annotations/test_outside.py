"""Objects outside their image are counted, by hand-made boxes and against the pixels that are drawn."""

import json

import numpy as np
import pytest
from helpers.annotated import SIZE, corners, object_of, save_coco, save_images

from hypercolumns.data import coco, label_studio, labelme
from hypercolumns.data.annotations.labelme import draw_labelme_shape, labelme_box
from hypercolumns.errors import HypercolumnsError

NAMES = [f"{number}.png" for number in range(10)]
HEIGHT, WIDTH = SIZE
INSIDE, PARTLY = (1, 1, 5, 5), (-20, -20, 2, 2)
OUTSIDE = [(WIDTH, 0, WIDTH + 3, 4), (-9, 0, 0, 4), (2, HEIGHT, 4, HEIGHT + 2), (2, -7, 4, 0), (90, 90, 99, 99)]


def coco_set(folder, boxes):
    ids = range(len(NAMES))
    objects = [object_of(id, 3, [corners(*box)]) for id, of_image in zip(ids, boxes, strict=True) for box in of_image]
    save_coco(folder / "all.json", NAMES, objects, categories=((3, "car"),), ids=ids)
    return coco(folder, images="photos")


def labelme_set(folder, boxes):
    for name, of_image in zip(NAMES, boxes, strict=True):
        shapes = [  # a rectangle of labelme includes its last row and column
            {"label": "car", "shape_type": "rectangle", "points": [[left, top], [right - 1, bottom - 1]]}
            for left, top, right, bottom in of_image
        ]
        content = {"imagePath": name, "shapes": shapes, "imageHeight": HEIGHT, "imageWidth": WIDTH}
        (folder / "photos" / name).with_suffix(".json").write_text(json.dumps(content))
    return labelme("photos", root=folder)


def label_studio_set(folder, boxes):
    tasks = []
    for name, of_image in zip(NAMES, boxes, strict=True):
        results = []
        for left, top, right, bottom in of_image:
            value = {"x": 100 * left / WIDTH, "y": 100 * top / HEIGHT, "width": 100 * (right - left) / WIDTH}
            value |= {"height": 100 * (bottom - top) / HEIGHT, "rectanglelabels": ["car"]}
            size = {"original_width": WIDTH, "original_height": HEIGHT}
            results.append({"type": "rectanglelabels", "value": value, **size})
        tasks.append({"id": name, "data": {"image": name}, "annotations": [{"result": results}]})
    (folder / "export.json").write_text(json.dumps(tasks))
    return label_studio("export.json", "photos", root=folder)


@pytest.mark.parametrize("make", [coco_set, labelme_set, label_studio_set])
def test_objects_outside_are_counted(tmp_path, make):
    save_images(tmp_path / "photos", NAMES)
    boxes = [[INSIDE, PARTLY]] * 8 + [OUTSIDE[:3], [INSIDE, *OUTSIDE[3:]]]
    index = make(tmp_path, boxes)
    assert "5 of 22 objects lie outside their image and are not drawn, such as one of" in index.notes[-1]
    assert index.notes[-1].endswith("8.png")
    pairs = {pair.id: pair for of_split in index.splits.values() for pair in of_split}
    assert [(pairs[id].mask.decode().values == 1).any() for id in "0789"] == [True, True, False, True]
    assert not any("outside" in note for note in make(tmp_path, [[INSIDE, PARTLY]] * 9 + [[]]).notes)


@pytest.mark.parametrize("make", [coco_set, labelme_set, label_studio_set])
def test_many_images_of_objects_outside_stop(tmp_path, make):
    save_images(tmp_path / "photos", NAMES)
    make(tmp_path, [[INSIDE]] * 8 + [OUTSIDE[:1]] * 2)
    message = r"all objects of 3 of 9 images lie outside their image, such as those of .*6\.png; if the images"
    with pytest.raises(HypercolumnsError, match=message):
        make(tmp_path, [[INSIDE]] * 6 + [OUTSIDE[:2]] * 3 + [[]])


@pytest.mark.parametrize("make", [coco_set, labelme_set])
def test_fractions_of_the_size_stop(tmp_path, make):
    save_images(tmp_path / "photos", NAMES)
    relative = [[(0.1, 0.2, 0.9, 1)]] * 10
    with pytest.raises(
        HypercolumnsError, match=r"all 10 objects lie in the first 2 pixels of .*; write them in pixels"
    ):
        make(tmp_path, relative)
    make(tmp_path, [*relative[1:], [INSIDE]])


@pytest.mark.parametrize("kind", ["polygon", "rectangle", "circle", "line", "linestrip", "point", "oriented_rectangle"])
def test_shapes_outside_their_box_draw_nothing(kind):
    """If the box of a shape does not touch the image, labelme draws no pixel of it."""
    random = np.random.default_rng(0)
    counts = {"circle": 2, "rectangle": 2, "line": 2, "point": 1, "oriented_rectangle": 4, "polygon": 5, "linestrip": 3}
    found = 0
    for _ in range(500):
        points = (random.uniform(-12, 12, 2) + random.uniform(-6, 6, (counts[kind], 2))).tolist()
        described = {"shape_type": kind, "points": points, "mask": None}
        left, top, right, bottom = labelme_box(described, SIZE)
        if right <= 0 or bottom <= 0 or left >= WIDTH or top >= HEIGHT:
            found += 1
            assert not draw_labelme_shape(described, SIZE).inside.any()
    assert found > 10
