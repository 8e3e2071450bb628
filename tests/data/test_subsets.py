"""Subsets of a data set: leave-one-group-out folds and smaller train splits."""

import itertools
import json
from pathlib import Path

import pytest
from helpers.small_runs import config, only, run

from hypercolumns.data import DatasetIndex, ImageMaskPair, folder, hold_out, shared_ids, take_train_subset, voc
from hypercolumns.data.class_list import ClassList
from hypercolumns.errors import HypercolumnsError
from hypercolumns.settings.data import image_index
from hypercolumns.settings.schema import taken
from hypercolumns.store import SampleStore

ROAD = ClassList.of(["road"])
TRAIN = ("0001TP_1", "0016E5_1", "0001TP_2", "0006R0_1", "0016E5_2")
DRIVE = r"^(\w{6})"


def ids(images):
    return {split: [pair.id for pair in pairs] for split, pairs in images.splits.items()}


@pytest.fixture
def images():
    def pairs(names):
        return tuple(ImageMaskPair(name, Path(name), Path(name)) for name in names)

    return DatasetIndex("drives", ROAD, ROAD.scheme(), {"train": pairs(TRAIN), "val": pairs(["0016E5_9"])})


def test_each_image_is_validated_in_one_fold(images):
    """The data set's own val split is never used."""
    folds = {name: ids(hold_out(images, DRIVE, name)) for name in ("0001TP", "0006R0", "0016E5")}
    assert folds["0016E5"] == {"train": ["0001TP_1", "0001TP_2", "0006R0_1"], "val": ["0016E5_1", "0016E5_2"]}
    assert sorted(id for fold in folds.values() for id in fold["val"]) == sorted(TRAIN)
    for fold in folds.values():
        assert sorted(fold["train"] + fold["val"]) == sorted(TRAIN)


def test_no_group_pattern_keeps_data_set(images):
    assert hold_out(images, None, None) is images


def test_group_name_joins_capturing_groups(images):
    """A group name that is a number may be given as an integer."""
    assert ids(hold_out(images, r"^0*(\d+)\w+_(\d)", "16-2"))["val"] == ["0016E5_2"]
    assert ids(hold_out(images, r"_(\d)", 2))["val"] == ["0001TP_2", "0016E5_2"]


@pytest.mark.parametrize(
    ("group_pattern", "val_group", "message"),
    [
        (None, "0001TP", r"^val_group=0001TP needs group_pattern=<a regular expression"),
        (DRIVE, None, r"^val_group=None must be one of .*: 0001TP, 0006R0, 0016E5$"),
        (DRIVE, "0001", r"^val_group=0001 must be one of the groups that .* finds in the train split of drives: 0"),
        (
            "^00",
            "00",
            r"^group_pattern=\^00 finds the same group, 00, in all 5 ids of the train split of drives; the pattern ",
        ),
        (
            "^0001",
            "0001",
            r"^group_pattern=\^0001 does not match image id 0016E5_1; the pattern must match the ids of all images",
        ),
        ("(", "0001", r"^group_pattern=\( is not a regular expression"),
        (5, "5", r"^group_pattern=5 must be a regular expression, given as text in quotes"),
    ],
)
def test_invalid_fold_is_refused(images, group_pattern, val_group, message):
    with pytest.raises(HypercolumnsError, match=message):
        hold_out(images, group_pattern, val_group)


@pytest.mark.parametrize("name", ["0001TP", "0006R0", "0016E5"])
def test_val_group_is_read_as_text(name):
    """Hydra would read an unquoted 0016E5 as a number."""
    assert config("train", f"data.val_group={name}").data.val_group == name


def test_each_fold_has_its_own_samples_and_model(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    settings = ["data.train_images=12", "trainer.max_epochs=1", "val_images=0", r"data.group_pattern='(\d)$'"]
    run("extract", *taken("extract", settings), "data.val_group=1")
    store = SampleStore(only(tmp_path, "runs/shapes/rgb/samples/*"))
    assert [image.id for image in store.split("val").images()] == ["train_00001", "train_00011"]
    assert len(list(store.split("train").images())) == 10
    run("pretrain", *settings, "data.val_group=1")
    metrics = json.loads((tmp_path / "runs/shapes/rgb/pretrain/latest/metrics.json").read_text())
    assert metrics["evaluated"]["val_group"] == "1"
    with pytest.raises(HypercolumnsError, match=r"fits this command .*data\.val_group is 1, this command has 2"):
        run("pretrain", *settings, "data.val_group=2")


def test_train_subset_is_taken_from_fold(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    cfg = config("train", "data=shapes", "data.train_images=6", "data.val_images=2", r"data.group_pattern='\d$'")
    cfg.data.update({"val_group": "5", "train_subset": 5})
    assert len(ids(image_index(cfg))["train"]) == 5
    cfg.data.train_subset = 6
    with pytest.raises(HypercolumnsError, match=r"^data\.train_subset=6 must be a whole number from 1 to 5"):
        image_index(cfg)


def test_unknown_fold_error_lists_all_folds(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    cfg = config("train", "data=shapes", "data.train_images=3", "data.val_images=1", r"data.group_pattern='\d$'")
    message = r"^data\.val_group=None must be one of .*: 0, 1, 2; to validate on each group: -m data\.val_group=0,1,2$"
    with pytest.raises(HypercolumnsError, match=message):
        image_index(cfg)
    cfg.data.update({"group_pattern": None, "val_group": "0"})
    with pytest.raises(HypercolumnsError, match=r"^data\.val_group=0 needs group_pattern="):
        image_index(cfg)


@pytest.fixture
def ten(tmp_path, make_pair):
    """Return the arguments of `folder` for ten images: eight to train on and two to validate on."""
    for number in range(10):
        make_pair(tmp_path / "images" / f"{number}.jpg", tmp_path / "masks" / f"{number}.png", value=0)
    (tmp_path / "classes.txt").write_text("sky\n")
    (tmp_path / "train.txt").write_text("8 3 7 0 5 2 9 1".replace(" ", "\n"))
    (tmp_path / "val.txt").write_text("4\n6\n")
    paths = {name: tmp_path / f"{name}.txt" for name in ("classes", "train", "val")}
    return {"images": tmp_path / "images", "masks": tmp_path / "masks", **paths}


def test_smaller_subset_is_part_of_larger_one(ten):
    """All subsets keep the order of the list."""

    def ids(count, seed=0):
        images = take_train_subset(folder(**ten), count, seed)
        assert [pair.id for pair in images.splits["val"]] == ["4", "6"]
        return [pair.id for pair in images.splits["train"]]

    sets = [ids(count) for count in range(1, 9)]
    assert [len(chosen) for chosen in sets] == list(range(1, 9))
    assert all(set(fewer) < set(more) for fewer, more in itertools.pairwise(sets))
    assert all(chosen == [id for id in sets[-1] if id in chosen] for chosen in sets)
    assert sets[-1] == ids(None) == ["8", "3", "7", "0", "5", "2", "9", "1"]
    assert len({tuple(ids(3, seed)) for seed in range(5)}) > 1


def test_subset_changes_fingerprint_of_train_only(ten):
    whole, all_eight, seven = (take_train_subset(folder(**ten), count, 0).fingerprint() for count in (None, 8, 7))
    assert whole == all_eight
    assert whole["train"] != seven["train"]
    assert whole["val"] == seven["val"]


@pytest.mark.parametrize("count", [0, -1, 9, 1.5, True])
def test_invalid_subset_size_is_refused(ten, count):
    message = rf"^train_subset={count} must be a whole number from 1 to 8 .* train split of folder\), or null"
    with pytest.raises(HypercolumnsError, match=message):
        take_train_subset(folder(**ten), count, 0)


def test_shared_ids_of_two_splits(root):
    assert shared_ids(voc(root)) == []
    assert shared_ids(voc(root, val="odd")) == ["a"]
