"""The index of a data set, its fingerprint, and the reading of its pairs."""

import shutil
from pathlib import Path

import pytest

from hypercolumns.data import ImageMaskPair, voc
from hypercolumns.data.index import make_index, read_example
from hypercolumns.errors import HypercolumnsError, UnreadableError
from hypercolumns.labels import LabelScheme


def test_empty_split_is_refused():
    splits = {"train": [ImageMaskPair("1", Path("1.jpg"), Path("1.png"))], "val": []}
    with pytest.raises(HypercolumnsError, match="data mine: the val split has no images; it needs at least one"):
        make_index("mine", LabelScheme.of(["a"]), splits)


def test_unreadable_file_is_not_called_invalid(root, monkeypatch):
    """An unreadable file may be valid, so `data.on_bad=skip` must not exclude its image."""

    def fail(*_):
        raise UnreadableError("c.jpg can't be read")

    monkeypatch.setattr("hypercolumns.data.index.read_pair", fail)
    with pytest.raises(UnreadableError, match=r"c\.jpg can't be read$"):
        read_example(voc(root).splits["val"][0], LabelScheme.of(["a"]))


def test_fingerprint_ignores_location(root, tmp_path_factory):
    before = voc(root).fingerprint()
    moved = tmp_path_factory.mktemp("moved") / "x"
    shutil.copytree(root, moved)
    assert voc(moved).fingerprint() == before


@pytest.mark.parametrize("change", ["mask", "order"])
def test_fingerprint_changes_with_split(root, make_pair, change):
    before = voc(root).fingerprint()
    layout = root / "VOCdevkit" / "VOC2012"
    if change == "mask":
        make_pair(layout / "JPEGImages" / "a.jpg", layout / "SegmentationClass" / "a.png", value=2)
    else:
        (layout / "ImageSets" / "Segmentation" / "train.txt").write_text("a\nb\n")
    after = voc(root).fingerprint()
    assert after["train"] != before["train"]
    assert after["val"] == before["val"]
