"""Masks that are drawn from objects: what lies on top, and what they need in other processes."""

import json
import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from helpers.annotated import SIZE, box, corners, runs

from hypercolumns.data.annotations.coco_shapes import draw_segmentation
from hypercolumns.data.annotations.drawing_library import library_version
from hypercolumns.data.annotations.drawn_mask import VOID_VALUE, drawn_mask
from hypercolumns.data.annotations.labelme import draw_labelme_shape
from hypercolumns.data.class_list import ClassList
from hypercolumns.data.index import ImageMaskPair, make_index
from hypercolumns.data.mask_survey import survey_masks
from hypercolumns.errors import HypercolumnsError

LARGE, SMALL = box(1, 1, 9, 8), box(4, 3, 6, 5)


def make(*objects, **settings):
    arguments = {"draw": draw_segmentation, "fill": 0, "shape": SIZE} | settings
    return drawn_mask(Path("a.json"), Path("images/a.jpg"), objects=objects, **arguments)


@pytest.mark.parametrize("overlaps", ["order", "smaller_on_top"])
@pytest.mark.parametrize("small_first", [True, False])
def test_overlaps_are_decided(overlaps, small_first):
    objects = [(1, [corners(1, 1, 9, 8)]), (2, runs(SMALL))]
    values = make(*(objects[::-1] if small_first else objects), overlaps=overlaps, fill=5).decode().values
    on_top = overlaps == "smaller_on_top" or not small_first
    assert values.dtype == np.uint16
    assert values.flags.c_contiguous
    assert (values == np.where(SMALL & on_top, 2, np.where(LARGE, 1, 5))).all()


@pytest.mark.parametrize("overlaps", ["order", "smaller_on_top"])
def test_void_lies_below_objects(overlaps):
    mask = make((1, runs(LARGE)), (VOID_VALUE, runs(SMALL)), (VOID_VALUE, runs(box(0, 0, 12, 2))), overlaps=overlaps)
    assert (mask.decode().values == np.where(LARGE, 1, np.where(box(0, 0, 12, 2), VOID_VALUE, 0))).all()


def test_later_of_equal_objects_is_on_top():
    mask = make((1, runs(SMALL)), (2, runs(SMALL)), overlaps="smaller_on_top")
    assert set(np.unique(mask.decode().values)) == {0, 2}


def test_mask_without_objects_is_filled():
    assert (make(fill=3).decode().values == np.full(SIZE, 3)).all()
    assert (make((1, runs(box(0, 0, 0, 0)))).decode().values == 0).all()


def test_mask_holds_its_own_objects_only():
    masks = [make((1, runs(LARGE)), (2, [corners(1, 1, 3, 3)])) for _ in range(100)]
    assert len(pickle.dumps(masks)) < 100 * 300
    copy = pickle.loads(pickle.dumps(masks[0]))
    assert copy == masks[0]
    assert hash(copy) == hash(masks[0])
    assert (copy.decode().values == masks[0].decode().values).all()


def test_digest_knows_what_decides_pixels():
    masks = [
        make((1, runs(LARGE)), (2, runs(SMALL))),
        make((2, runs(SMALL)), (1, runs(LARGE))),
        make((1, runs(LARGE)), (3, runs(SMALL))),
        make((1, runs(LARGE)), (2, runs(SMALL)), overlaps="smaller_on_top"),
        make((1, runs(LARGE)), (2, runs(SMALL)), fill=1),
        make((1, runs(LARGE)), (2, runs(SMALL)), draw=draw_labelme_shape),
        make((1, runs(LARGE)), (2, runs(SMALL)), shape=(12, 9)),
        make((1, runs(LARGE)), (2, runs(SMALL)), library="pycocotools"),
        make((1, runs(LARGE)), (2, runs(SMALL)), library="no package"),
        make((1, runs(LARGE)), (2, runs(SMALL)), layers=("a", "b")),
        replace(make((1, runs(LARGE)), (2, runs(SMALL))), orientation=3),
    ]
    assert len({mask.digest() for mask in masks}) == len(masks)
    moved = drawn_mask(Path("b/a.json"), Path("b.jpg"), SIZE, json.loads(masks[0].objects), draw_segmentation, 0)
    assert moved.digest() == moved.signature() == masks[0].digest()


def test_digest_knows_version_of_drawing_library(monkeypatch):
    """Values that are kept by the digest must not be used again if another version draws other pixels."""

    def digests():
        library_version.cache_clear()
        return [make(*objects, library="Pillow").digest() for objects in ([(1, runs(LARGE))], [])]

    before = digests()
    monkeypatch.setattr("importlib.metadata.version", lambda package: f"99 of {package}")
    after = digests()
    assert [old == new for old, new in zip(before, after, strict=True)] == [False, True]
    library_version.cache_clear()


def test_order_of_layers_must_not_matter():
    """The file does not say which of two layers lies on top, so they may only overlap if that changes nothing."""
    road, car, same = (1, runs(LARGE)), (2, runs(SMALL)), (1, runs(SMALL))
    for objects, layers in (((road, car), "tt"), ((road, same), "ts"), ((road, (2, runs(box(9, 0, 12, 9)))), "ts")):
        expected = make(*objects).decode().values
        assert (make(*objects, layers=layers).decode().values == expected).all()
    message = (
        r"a\.jpg\): regions of t and s overlap, and the format JSON_MIN does not say .*; export the .* data\.overlaps="
    )
    for objects, layers in (((road, car), "ts"), ((road, same, car), "tts"), ((road, car, same), "tst")):
        with pytest.raises(HypercolumnsError, match=message):
            make(*objects, layers=layers).decode()
        make(*objects, layers=layers, overlaps="smaller_on_top").decode()


@pytest.mark.parametrize("shape", [("9", "12"), (9.0, 12.0), (9, " 12 ")])
def test_size_may_be_a_text(shape):
    assert make(shape=shape).size() == SIZE


@pytest.mark.parametrize("length", [float("nan"), float("inf"), None, "wide", [9]])
def test_size_that_is_no_number_is_unknown(length):
    with pytest.raises(HypercolumnsError, match="no size of the image is known"):
        make(shape=(9, length)).size()


def test_errors_name_file_image_and_object():
    mask = make((1, runs(LARGE)), (1, [[1, 2, 3, 4]]))
    assert mask.size() == SIZE
    with pytest.raises(
        HypercolumnsError, match=r"^a\.json \(image .*a\.jpg\): object 2 can't be drawn: a polygon needs x"
    ):
        mask.decode()
    with pytest.raises(HypercolumnsError, match=r"object 1 can't be drawn: it has another form than expected \(KeyErr"):
        make((1, {"counts": [1]})).decode()
    with pytest.raises(
        HypercolumnsError, match=r"a\.jpg\): the image is not annotated; annotate it, or set data\.unlab"
    ):
        make(annotated=False).size()
    with pytest.raises(HypercolumnsError, match="no size of the image is known"):
        make(shape=(None, 4)).decode()
    with pytest.raises(HypercolumnsError, match="overlaps=none must be one of order, smaller_on_top"):
        make(overlaps="none")


def test_survey_tells_masks_of_one_name_apart(tmp_path):
    """A name is for messages; two images of one name, in two folders, have their own counts."""
    pairs = []
    for number, value in enumerate((1, 2, 2)):
        mask = replace(make((value, runs(LARGE))), image="a.png")
        pairs.append(ImageMaskPair(str(number), tmp_path / f"{number}/a.png", mask))
    images = make_index("drawn", ClassList.of(["ground", "cat", "dog"]), {"train": pairs[:2], "val": pairs[2:]})
    survey = survey_masks(images, tmp_path / "checks")
    assert [survey[pair.mask].counts for pair in pairs] == [
        {0: int((~LARGE).sum()), value: int(LARGE.sum())} for value in (1, 2, 2)
    ]
