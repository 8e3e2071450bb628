"""COCO's polygons and run lengths, against pycocotools and by hand."""

import warnings

import numpy as np
import pytest
from helpers.annotated import box, corners, runs
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from pycocotools import mask as coco

from hypercolumns.data.annotations.coco_shapes import decode_counts, draw_segmentation

SIZE = (30, 40)


def drawn(segmentation, size=SIZE):
    top, left, inside = draw_segmentation(segmentation, size)
    mask = np.zeros(size, bool)
    mask[top : top + inside.shape[0], left : left + inside.shape[1]] = inside
    return mask


@given(arrays(bool, st.tuples(st.integers(1, 20), st.integers(1, 20))))
def test_run_lengths_are_pycocotools(mask):
    code = coco.encode(np.asfortranarray(mask).view(np.uint8))
    compressed = {"size": list(mask.shape), "counts": code["counts"].decode()}
    assert (drawn(compressed, mask.shape) == mask).all()
    assert (drawn(runs(mask), mask.shape) == mask).all()
    assert decode_counts(code["counts"]).sum() == mask.size


def test_long_runs_are_decoded():
    for length in (1, 15, 16, 31, 32, 1023, 1024, 32767, 32768, 1 << 20):
        mask = np.zeros((1 << 10, 1 << 11), bool)
        mask.T.reshape(-1)[length : 2 * length] = True
        code = coco.encode(np.asfortranarray(mask).view(np.uint8))
        top, left, inside = draw_segmentation({"size": mask.shape, "counts": code["counts"].decode()}, mask.shape)
        assert inside.sum() == mask.sum()
        assert (mask[:, left : left + inside.shape[1]] == inside).all()
        assert top == 0


@given(
    st.lists(
        st.lists(st.floats(-10, 50).map(lambda number: round(number, 2)), min_size=6, max_size=14).map(
            lambda numbers: numbers[: len(numbers) // 2 * 2]
        ),
        min_size=1,
        max_size=3,
    )
)
def test_polygons_are_pycocotools(polygons):
    with warnings.catch_warnings(action="ignore", category=DeprecationWarning):  # pycocotools sets the shape of arrays
        expected = coco.decode(coco.merge(coco.frPyObjects(polygons, *SIZE)))
    assert (drawn(polygons) == expected).all()


@pytest.mark.parametrize(("start", "first"), [(10, 10), (9.5, 10), (10.5, 11)])
def test_polygon_covers_pixels_without_its_ends(start, first):
    """pycocotools gives a square of 10x10 to corners at 10 and 20; other programs give 11x11."""
    mask = drawn([corners(start, start, start + 10, start + 10)])
    assert (mask == box(first, first, first + 10, first + 10, SIZE)).all()


@pytest.mark.parametrize(
    ("segmentation", "message"),
    [
        ([], "it has a box, but neither polygons nor run lengths"),
        (None, "it has a box, but neither polygons nor run lengths"),
        ([[10, 10, 10, 10]], "at least three corners, but one has 4 numbers"),  # pycocotools takes this for a box
        ([[1, 1, 5, 1, 5, 5], [1, 2, 3]], "at least three corners, but one has 3 numbers"),
        ([[0, 0, float("nan"), 1, 2, 2]], "lie far outside the image of 40x30 pixels"),
        ([[0, 0, 1e9, 1, 2, 2]], "lie far outside the image of 40x30 pixels"),  # pycocotools would fill the memory
        ({"size": [40, 30], "counts": [1200]}, "an image of 30x40 pixels, but the image has 40x30"),
        ({"size": [30, 40], "counts": [1, 2]}, "do not add up to the 1200 pixels"),
        ({"size": [30, 40], "counts": [1201, -1]}, "do not add up to the 1200 pixels"),
        ({"size": [30, 40], "counts": "04"}, "do not add up to the 1200 pixels"),
        ({"size": [30, 40], "counts": ""}, "compressed run lengths are damaged"),
        ({"size": [30, 40], "counts": "0o"}, "compressed run lengths are damaged"),
        ({"size": [30, 40], "counts": "ooooooooooo0"}, "compressed run lengths are damaged"),
        ({"size": [30, 40], "counts": "0é"}, "compressed run lengths are damaged"),
    ],
)
def test_invalid_segmentation_is_refused(segmentation, message):
    with pytest.raises(ValueError, match=message):
        draw_segmentation(segmentation, SIZE)


def test_missing_pycocotools_is_named(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pycocotools", None)
    assert drawn({"size": [30, 40], "counts": [0, 1200]}).all()
    with pytest.raises(Exception, match="not installed; install it: pip install pycocotools"):
        draw_segmentation([corners(1, 1, 5, 5)], SIZE)
