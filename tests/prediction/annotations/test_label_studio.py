"""The tasks for Label Studio, against a slow decoder; test_tools.py reads them with Label Studio's own package."""

import json

import numpy as np
from helpers.annotation_tools import assert_equal
from helpers.annotations import expected_masks, hard_labels, write_annotations
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from hypercolumns.prediction import LabelStudioTags
from hypercolumns.prediction.annotations import label_studio
from hypercolumns.prediction.annotations.label_studio import encode_brush


def decode(code):
    """Return the values that a code describes, one bit after the other, as the format's own JavaScript does."""
    bits = "".join(f"{byte:08b}" for byte in code)
    position = 0

    def take(width):
        nonlocal position
        position += width
        return int(bits[position - width : position], 2)

    number, word = take(32), take(5) + 1
    widths = [take(4) + 1 for _ in range(4)]
    values = []
    while len(values) < number:
        equal = take(1)
        length = take(widths[take(2)]) + 1
        values += [take(word)] * length if equal else [take(word) for _ in range(length)]
    assert len(values) == number
    assert 1 <= len(bits) - position <= 8
    assert int(bits[position:], 2) == 0
    return np.array(values, np.uint8)


@given(arrays(bool, st.tuples(st.integers(1, 12), st.integers(1, 12))))
def test_any_mask_is_decoded(mask):
    expected = np.where(mask, 255, 0)[:, :, None].repeat(4, 2)
    assert (decode(encode_brush(mask)).reshape(*mask.shape, 4) == expected).all()


def test_parts_give_the_same_code(monkeypatch):
    mask = np.random.default_rng(0).random((30, 40)) > 0.6
    whole = encode_brush(mask)
    monkeypatch.setattr(label_studio, "RUNS", 7)
    assert encode_brush(mask) == whole


def test_long_runs_are_split():
    """A code describes at most 65536 values, so 16384 pixels."""
    for length in (16383, 16384, 16385, 32768, 32769, 50000):
        mask = np.arange(length + 5) < length
        assert (decode(encode_brush(mask[None])) == np.where(mask, 255, 0).repeat(4)).all()


def test_tasks_hold_each_class(tmp_path):
    tags = LabelStudioTags("brush", "photo", "https://example.org/")
    out = write_annotations(tmp_path, hard_labels(), "label_studio", tags=tags)
    tasks = json.loads((out / "label_studio.json").read_text())
    urls = ["a.png", "deep/b%20c.jpg", "empty.png", "full.png", "pixel.png"]
    assert [task["data"]["image"] for task in tasks] == [f"https://example.org/{url}" for url in urls]
    masks = {}
    for task, (file, labels) in zip(tasks, hard_labels().items(), strict=True):
        (prediction,) = task["predictions"]
        assert prediction["model_version"] == "hypercolumns"
        assert len({result["id"] for result in prediction["result"]}) == len(prediction["result"])
        for result in prediction["result"]:
            assert (result["from_name"], result["to_name"], result["type"]) == ("brush", "photo", "brushlabels")
            assert (result["original_height"], result["original_width"]) == labels.shape
            (name,) = result["value"]["brushlabels"]
            masks[file.rpartition(".")[0], name] = decode(result["value"]["rle"]).reshape(*labels.shape, 4)[:, :, 3]
    assert_equal(masks, expected_masks(hard_labels()))


def test_no_image_gives_empty_list(tmp_path):
    out = write_annotations(tmp_path, {}, "label_studio")
    assert json.loads((out / "label_studio.json").read_text()) == []
