import json
from pathlib import Path

import pytest
from small_runs import config, only, run

from hypercolumns.data import DatasetIndex, ImageMaskPair, hold_out
from hypercolumns.errors import HypercolumnsError
from hypercolumns.settings.data import image_index
from hypercolumns.settings.schema import taken
from hypercolumns.store import SampleStore

TRAIN = ("0001TP_1", "0016E5_1", "0001TP_2", "0006R0_1", "0016E5_2")
DRIVE = r"^(\w{6})"


def ids(images):
    return {split: [pair.id for pair in pairs] for split, pairs in images.splits.items()}


@pytest.fixture
def images():
    def pairs(names):
        return tuple(ImageMaskPair(name, Path(name), Path(name)) for name in names)

    return DatasetIndex("drives", ("road",), ((0, 0, 0),), {"train": pairs(TRAIN), "val": pairs(["0016E5_9"])})


def test_each_group_is_val_group_once_and_val_never_used(images):
    folds = {name: ids(hold_out(images, DRIVE, name)) for name in ("0001TP", "0006R0", "0016E5")}
    assert folds["0016E5"] == {"train": ["0001TP_1", "0001TP_2", "0006R0_1"], "val": ["0016E5_1", "0016E5_2"]}
    assert sorted(id for one in folds.values() for id in one["val"]) == sorted(TRAIN)
    for one in folds.values():
        assert sorted(one["train"] + one["val"]) == sorted(TRAIN)


def test_without_it_the_set_is_as_it_is(images):
    assert hold_out(images, None, None) is images


def test_groups_by_several_brackets_and_names_that_are_numbers(images):
    assert ids(hold_out(images, r"^0*(\d+)\w+_(\d)", "16-2"))["val"] == ["0016E5_2"]
    assert ids(hold_out(images, r"_(\d)", 2))["val"] == ["0001TP_2", "0016E5_2"]


@pytest.mark.parametrize(
    ("group_pattern", "val_group", "message"),
    [
        (None, "0001TP", r"^val_group=0001TP goes with group_pattern=<a regular expression"),
        (
            DRIVE,
            None,
            r"^val_group=None must be one of .* which are 0001TP, 0006R0, 0016E5$",
        ),
        (DRIVE, "0001", r"^val_group=0001 must be one of the groups that .* finds in the train split of drives, which"),
        (
            "^00",
            "00",
            r"^group_pattern=\^00 finds 00 in all 5 ids of the train split of drives; it must find something",
        ),
        ("^0001", "0001", r"^group_pattern=\^0001 does not occur in 0016E5_1; it must in the id of every image"),
        ("(", "0001", r"^group_pattern=\( is not a regular expression"),
        (5, "5", r"^group_pattern=5 must be a regular expression, as text \(in quotes\)"),
    ],
)
def test_folds_that_can_not_be(images, group_pattern, val_group, message):
    with pytest.raises(HypercolumnsError, match=message):
        hold_out(images, group_pattern, val_group)


@pytest.mark.parametrize("name", ["0001TP", "0006R0", "0016E5"])
def test_what_is_typed_is_the_name_of_the_group(name):
    """0016E5 is no number, as bare as it stands."""
    assert config("train", f"data.val_group={name}").data.val_group == name


def test_each_fold_has_samples_and_a_model_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    settings = ["data.train_images=12", "trainer.max_epochs=1", "val_images=0", r"data.group_pattern='(\d)$'"]
    run("extract", *taken("extract", settings), "data.val_group=1")
    store = SampleStore(only(tmp_path, "runs/shapes/rgb/samples/*"))
    assert [image.id for image in store.split("val").images()] == ["train_00001", "train_00011"]
    assert len(list(store.split("train").images())) == 10
    run("pretrain", *settings, "data.val_group=1")
    metrics = json.loads((tmp_path / "runs/shapes/rgb/pretrain/latest/metrics.json").read_text())
    assert metrics["evaluated"]["val_group"] == "1"
    with pytest.raises(HypercolumnsError, match=r"no samples .* that fits .*data\.train is"):
        run("pretrain", *settings, "data.val_group=2")


def test_images_are_limited_within_the_fold(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    cfg = config("train", "data=shapes", "data.train_images=6", "data.val_images=2", r"data.group_pattern='\d$'")
    cfg.data.update({"val_group": "5", "train_subset": 5})
    assert len(ids(image_index(cfg))["train"]) == 5
    cfg.data.train_subset = 6
    with pytest.raises(HypercolumnsError, match=r"^data\.train_subset=6 must be a whole number from 1 to 5"):
        image_index(cfg)


def test_an_unknown_fold_names_the_settings_and_all_folds(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    cfg = config("train", "data=shapes", "data.train_images=3", "data.val_images=1", r"data.group_pattern='\d$'")
    message = r"^data\.val_group=None must be one of .* which are 0, 1, 2; all of them: -m data\.val_group=0,1,2$"
    with pytest.raises(HypercolumnsError, match=message):
        image_index(cfg)
    cfg.data.update({"group_pattern": None, "val_group": "0"})
    with pytest.raises(HypercolumnsError, match=r"^data\.val_group=0 goes with group_pattern="):
        image_index(cfg)
