"""Exports of Label Studio as data sets; test_tools.py compares brushes with Label Studio's own package."""

import json

import numpy as np
import pytest
from helpers.annotated import SIZE, box, labels, save_images

from hypercolumns.data import label_studio
from hypercolumns.data.annotations.brush import decode_alpha, decode_brush
from hypercolumns.data.annotations.label_studio import draw_region
from hypercolumns.errors import HypercolumnsError

ROAD, CAR = box(0, 5, 12, 9), box(3, 4, 7, 8)


def encode(values, width=8, sizes=(3, 4, 8, 16)):
    """Return the run lengths of values, in runs of equal and of different values by turns."""
    bits = f"{len(values):032b}{width - 1:05b}" + "".join(f"{size - 1:04b}" for size in sizes)
    position, equal = 0, True
    while position < len(values):
        run = 1
        while equal and position + run < len(values) and values[position + run] == values[position] and run < 256:
            run += 1
        part = values[position : position + (run if equal else 5)]
        bits += f"{int(equal)}10{len(part) - 1:08b}" + "".join(f"{value:08b}" for value in part[: 1 if equal else None])
        position, equal = position + len(part), not equal
    bits += "0" * (-len(bits) % 8)
    return [int(bits[start : start + 8], 2) for start in range(0, len(bits), 8)]


def brush(label, mask, **fields):
    rle = encode(np.repeat(mask.ravel() * 255, 4).astype(int).tolist())
    return region(label, "brush", {"format": "rle", "rle": rle}, **fields)


def region(label, kind, value, size=SIZE, **fields):
    value = {**value, f"{kind}labels": [label]}
    return {"type": f"{kind}labels", "value": value, "original_height": size[0], "original_width": size[1], **fields}


def polygon(label, *corners):
    points = [[100 * x / SIZE[1], 100 * y / SIZE[0]] for x, y in corners]
    return region(label, "polygon", {"points": points, "closed": True})


def task(number, image, *results, **fields):
    annotation = {"id": number, "result": [*results], "was_cancelled": False, **fields}
    return {"id": number, "data": {"image": image}, "annotations": [annotation]}


REGIONS = [polygon("road", (0, 5), (12, 5), (12, 9), (0, 9)), brush("car", CAR)]
NAMES = ["a.png", "b c.png", "deep/d.png", "d.png"]


@pytest.fixture
def place(tmp_path):
    save_images(tmp_path / "photos/deep", ["d.png"])
    save_images(tmp_path / "photos", ["a.png", "b c.png", "d.png"])
    return tmp_path


def read(place, *tasks, **settings):
    (place / "export.json").write_text(json.dumps(tasks))
    return label_studio("export.json", "photos", root=place, **settings)


def tasks():
    return [
        task(1, "/data/upload/3/1a2b3c4d-a.png", *REGIONS),
        {**task(2, "https://example.org/x.png", *REGIONS), "file_upload": "0a2b3c4d-b_c.png"},
        task(3, "/data/local-files/?d=photos/deep/d.png", *REGIONS),
        task(4, "s3://bucket/photos/d.png", *REGIONS),
    ]


def test_predictions_only_stop(place):
    exported = [{**entry, "annotations": [], "predictions": entry["annotations"]} for entry in tasks()]
    message = r"no annotations: these are predictions; accept them in Label Studio, then export the project"
    with pytest.raises(HypercolumnsError, match=message):
        read(place, *exported)


def test_label_null_stops(place):
    with pytest.raises(HypercolumnsError, match=r"the label of a region of task 1 is null; give it a label in Label"):
        read(place, task(1, "a.png", polygon(None, (0, 5), (12, 5), (12, 9))))


def test_no_regions_are_background_or_not(place):
    exported = [*tasks()[:3], task(4, "s3://bucket/photos/d.png")]
    index = read(place, *exported)
    assert (labels(index)["d"] == 0).all()
    assert "1 of 4 images have an annotation without regions and count as images without objects; " in index.notes[-1]
    index = read(place, *exported, empty="unlabelled")
    pairs = [pair for of_split in index.splits.values() for pair in of_split]
    assert [pair.id for pair in pairs if not pair.mask.annotated] == ["d"]
    assert not any("without regions" in note for note in index.notes)


@pytest.mark.parametrize("length", [1, 2, 7, 300])
def test_brush_code_is_decoded(length):
    values = np.random.default_rng(length).integers(0, 3, length).repeat(7).astype(np.uint8)
    assert (decode_brush(encode(values.tolist()), len(values)) == values).all()
    assert len(decode_brush(encode([]), 0)) == 0


def test_alpha_is_the_fourth_channel():
    values = np.arange(24, dtype=np.uint8)
    assert decode_alpha(encode(values.tolist()), 2, 3).tolist() == [[3, 7, 11], [15, 19, 23]]


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ([1, 2, 3], "cut off"),
        ([1, 2, 300], "must be a list of numbers from 0 to 255"),
        (encode([5] * 25), "describe 25 values of 8 bits, but the image has 24 of 8 bits"),
        (encode([5] * 24)[:-2], "cut off"),
        (encode([1, 2, 3, 4, 5, 6] * 4)[:-4], "are damaged|cut off"),
    ],
)
def test_damaged_brush_is_refused(code, message):
    with pytest.raises(ValueError, match=message):
        decode_alpha(code, 2, 3)


def test_images_are_found_by_name(place):
    index = read(place, *tasks())
    assert index.classes == ("background", "car", "road")
    expected = np.where(CAR, 1, np.where(ROAD, 2, 0))
    found = labels(index)
    assert sorted(found) == ["a", "b c", "d", "deep/d"]
    assert all((mask == expected).all() for mask in found.values())
    assert index.notes[0] == "the classes are all labels that the export has: car, road"


def test_rectangle_is_turned_about_its_corner(place):
    upright = region("car", "rectangle", {"x": 25, "y": 100 / 3, "width": 50, "height": 100 / 3, "rotation": 0})
    top, left, inside = draw_region({**upright, "size": [*SIZE]}, SIZE)
    assert (top, left, inside.shape) == (0, 3, (9, 6))
    assert inside.any(1).nonzero()[0].tolist() == [3, 4, 5]
    turned = region("car", "rectangle", {"x": 50, "y": 0, "width": 25, "height": 100 / 3, "rotation": 90})
    _, left, inside = draw_region({**turned, "size": [*SIZE]}, SIZE)
    assert (left, inside.shape[1], inside.any(1).sum()) == (3, 3, 3)


def test_min_format_is_read(place):
    """JSON_MIN has an entry for each annotation, and the regions below the name of the tag."""
    entries = [
        {
            "image": entry["data"]["image"] if entry["id"] != 2 else "b%20c.png",
            "id": entry["id"],
            "tag": [{**item["value"], "original_width": 12, "original_height": 9} for item in REGIONS[1:]],
            "shape": [{**item["value"], "original_width": 12, "original_height": 9} for item in REGIONS[:1]],
            "annotation_id": entry["id"],
            "choice": "sunny",
        }
        for entry in tasks()
    ]
    del entries[0]["tag"], entries[0]["shape"]
    found = labels(read(place, *entries, classes=["road", "car"], overlaps="smaller_on_top"))
    assert (found["a"] == 0).all()
    assert (found["b c"] == np.where(CAR, 2, np.where(ROAD, 1, 0))).all()
    entries[0]["annotation_id"] = None
    masks = {pair.id: pair.mask for of in read(place, *entries).splits.values() for pair in of}
    assert {id for id, mask in masks.items() if not mask.annotated} == {"a"}


def test_cancelled_and_empty_annotations(place):
    """A cancelled annotation leaves the task without one; an empty annotation that was submitted is background."""
    first, second, third, fourth = tasks()
    first["annotations"][0]["was_cancelled"] = True
    second["annotations"][0]["result"] = [{"type": "choices", "value": {"choices": ["sunny"]}}]
    third["annotations"] = []
    index = read(place, first, second, third, fourth)
    masks = {pair.id: pair.mask for of_split in index.splits.values() for pair in of_split}
    assert {id: mask.annotated for id, mask in masks.items()} == {"a": False, "b c": True, "deep/d": False, "d": True}
    assert (masks["b c"].decode().values == np.zeros(SIZE)).all()


def test_several_annotations_are_asked_for(place):
    first, *others = tasks()
    first["annotations"][0]["updated_at"] = "2026-01-02T00:00:00Z"
    newer = {"result": [brush("car", ROAD)], "updated_at": "2026-01-03T00:00:00Z", "was_cancelled": False}
    first["annotations"].append(newer)
    with pytest.raises(
        HypercolumnsError, match=r"^several=error: 1 tasks of .*, such as task 1; mark one of them as gro"
    ):
        read(place, first, *others)
    assert labels(read(place, first, *others, several="newest"))["a"][8, 0] == 1
    first["annotations"][0]["ground_truth"] = True
    assert labels(read(place, first, *others))["a"][8, 0] == 2


def test_labels_may_be_regions_of_their_own(place):
    """With the tags Brush and Labels, two results share an id: one has the pixels, the other the label."""
    plain = {**brush("car", CAR), "type": "brush", "id": "x"}
    plain["value"].pop("brushlabels")
    named = {"type": "labels", "id": "x", "value": {"labels": ["road"]}}
    first, *others = tasks()
    first["annotations"][0]["result"] = [plain, named]
    assert (labels(read(place, first, *others))["a"] == np.where(CAR, 2, 0)).all()


@pytest.mark.parametrize(
    ("result", "message"),
    [
        (
            region("car", "ellipse", {"x": 1, "y": 1, "radiusX": 3, "radiusY": 2}),
            "regions of type ellipselabels are not",
        ),
        (brush("car", CAR, image_rotation=90), "it was drawn on a rotated view of the image"),
        (brush("car", CAR, size=(12, 9)), "it was drawn on an image of 9x12 pixels, but the image has 12x9"),
        (region("car", "brush", {"rle": [0]}), "its run lengths are cut off"),
        (region("car", "polygon", {"points": [[1, 2], [3, 4]]}), "at least three corners, but one has 4 numbers"),
        (region("car", "polygon", {"points": [[1, 2, 3], [3, 4, 3], [5, 9, 3], [8, 8, 3]]}), "x and y, but one has 3"),
    ],
)
def test_region_that_is_not_drawn_is_named(place, result, message):
    first, *others = tasks()
    first["annotations"][0]["result"] = [brush("car", CAR), result, brush("car", CAR)]
    index = read(place, first, *others)
    with pytest.raises(
        HypercolumnsError, match=rf"export\.json \(image .*a\.png\): object 2 can't be drawn: .*{message}"
    ):
        labels(index)


def test_wrong_exports_are_named(place):
    with pytest.raises(HypercolumnsError, match=r"^images=.* lacks the images of 1 tasks of .*: e\.png; add the image"):
        read(place, task(1, "e.png"), *tasks()[1:])
    with pytest.raises(HypercolumnsError, match="the tasks 1 and 9 are for the same image"):
        read(place, *tasks(), task(9, "a.png"))
    with pytest.raises(
        HypercolumnsError, match=r"task 5 of .* may be for each of the images d, deep/d; give the images"
    ):
        read(place, *tasks()[:2], task(5, "x/d.png", *REGIONS))
    with pytest.raises(
        HypercolumnsError, match=r"is not an export of Label Studio .*; export the project in the format"
    ):
        read(place, {"images": []})
    two = brush("car", CAR)
    two["value"]["brushlabels"].append("road")
    with pytest.raises(HypercolumnsError, match=r"a region of task 1 has 2 labels \(car, road\); give it one label"):
        read(place, task(1, "a.png", two))
    with pytest.raises(HypercolumnsError, match=r"^images is not set; the data set needs annotations"):
        label_studio("export.json", None)
