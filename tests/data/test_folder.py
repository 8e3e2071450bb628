"""Data sets that consist of a folder of images and a folder of masks."""

import re
import shutil

import pytest

from hypercolumns.data import check_headers, folder
from hypercolumns.errors import HypercolumnsError


@pytest.fixture
def settings(tmp_path, make_pair):
    """Return the arguments of `folder` for five images and masks, one of them in a subfolder."""
    for name in ("1", "2", "3", "4", "deep/1"):
        make_pair(tmp_path / "images" / f"{name}.jpg", tmp_path / "masks" / f"{name}.png")
    (tmp_path / "images" / "notes.txt").touch()
    (tmp_path / "classes.txt").write_text("sky\nsea\n")
    return {"images": tmp_path / "images", "masks": tmp_path / "masks", "classes": tmp_path / "classes.txt"}


def test_random_split_is_seeded_and_complete(settings):
    def split(seed):
        images = folder(**settings, val_fraction=0.4, split_seed=seed)
        return {name: {pair.id for pair in pairs} for name, pairs in images.splits.items()}

    assert split(0) == split(0)
    assert any(split(0) != split(seed) for seed in range(1, 6))
    assert len(split(0)["val"]) == 2
    assert split(0)["train"] | split(0)["val"] == {"1", "2", "3", "4", "deep/1"}
    assert not split(0)["train"] & split(0)["val"]


def test_listed_split_keeps_order(settings, tmp_path):
    (tmp_path / "train.txt").write_text("deep/1\n1\n")
    (tmp_path / "val.txt").write_text("2\n")
    images = folder(**settings, train=tmp_path / "train.txt", val=tmp_path / "val.txt")
    assert [pair.id for pair in images.splits["train"]] == ["deep/1", "1"]
    assert images.splits["train"][0].mask == tmp_path / "masks" / "deep" / "1.png"
    (tmp_path / "val.txt").write_text("9\n")
    with pytest.raises(HypercolumnsError, match=r"lists 1 names without an image in .*, such as 9;"):
        folder(**settings, train=tmp_path / "train.txt", val=tmp_path / "val.txt")


@pytest.mark.parametrize("place", [".", "set", "both"])
def test_lists_are_found_here_and_in_the_root(settings, tmp_path, monkeypatch, place):
    (tmp_path / "set").mkdir()
    monkeypatch.chdir(tmp_path)
    for folder_name in (".", "set") if place == "both" else (place,):
        (tmp_path / folder_name / "train.txt").write_text("1\n2\n")
        (tmp_path / folder_name / "val.txt").write_text("3\n")
    images = folder(**settings, root="set", train="train.txt", val="val.txt")
    assert {split: [pair.id for pair in pairs] for split, pairs in images.splits.items()} == {
        "train": ["1", "2"],
        "val": ["3"],
    }


def test_lists_that_differ_and_missing_lists_ask(settings, tmp_path, monkeypatch):
    (tmp_path / "set").mkdir()
    monkeypatch.chdir(tmp_path)
    both = f"{re.escape(str(tmp_path))}/train.txt.*{re.escape(str(tmp_path))}/set/train.txt"
    with pytest.raises(HypercolumnsError, match=f"^train=train.txt is not found: {both} are no files"):
        folder(**settings, root="set", train="train.txt", val="val.txt")
    (tmp_path / "train.txt").write_text("1\n2\n")
    (tmp_path / "set" / "train.txt").write_text("1\n4\n")
    with pytest.raises(HypercolumnsError, match=f"^train=train.txt names two lists that differ, {both}; give the full"):
        folder(**settings, root="set", train="train.txt", val="val.txt")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"images": None}, "^images is not set; the data set needs images and masks"),
        ({"masks": "nowhere"}, "^masks=nowhere is not a folder"),
        ({"masks": "~nosuchuser/m"}, r"^masks=~nosuchuser/m: the user after ~ does not exist; write the full"),
        ({"val_fraction": 1.5}, r"^val_fraction=1\.5 must be a number from 0 to 1"),
        ({"val_fraction": "abc"}, r"^val_fraction=abc must be a number from 0 to 1"),
        ({"val_fraction": 1.0}, r"^val_fraction=1\.0 must be above 0 and below 1"),
        ({"train": "x.txt"}, "^train and val go together"),
    ],
)
def test_invalid_argument_is_refused(settings, change, message):
    with pytest.raises(HypercolumnsError, match=message):
        folder(**(settings | change))


def test_links_to_folders_are_entered(settings, tmp_path, make_pair):
    make_pair(tmp_path / "elsewhere" / "i.jpg", tmp_path / "masks" / "linked" / "i.png")
    (tmp_path / "elsewhere" / "back").symlink_to(tmp_path / "images")
    (tmp_path / "images" / "linked").symlink_to(tmp_path / "elsewhere")
    ids = {pair.id for pairs in folder(**settings).splits.values() for pair in pairs}
    assert ids == {"1", "2", "3", "4", "deep/1", "linked/i"}


def test_two_images_for_one_mask_are_refused(settings, tmp_path):
    shutil.copy(tmp_path / "images" / "1.jpg", tmp_path / "images" / "1.png")
    with pytest.raises(HypercolumnsError, match="would have the same mask; rename one"):
        folder(**settings)


def test_missing_masks_are_listed(settings, tmp_path):
    for name in ("2", "deep/1"):
        (tmp_path / "masks" / f"{name}.png").unlink()
    message = r"2 files can't be used: .*(2|deep/1)\.png does not exist; .*\.png does not exist; .* data\. Repair these"
    with pytest.raises(HypercolumnsError, match=message):
        check_headers(folder(**settings))


@pytest.mark.parametrize("name", ["../masks/1", "/1"])
def test_listed_id_outside_folder_is_refused(settings, tmp_path, name):
    (tmp_path / "train.txt").write_text(f"{name}\n")
    (tmp_path / "val.txt").write_text("2\n")
    with pytest.raises(HypercolumnsError, match=r"lists 1 names without an image in .*; names must be relative to"):
        folder(**settings, train=tmp_path / "train.txt", val=tmp_path / "val.txt")


def test_folder_with_too_few_images_is_refused(settings, tmp_path):
    shutil.rmtree(tmp_path / "images")
    (tmp_path / "images").mkdir()
    with pytest.raises(HypercolumnsError, match=r"^images=.* has 0 images \(\.jpg .*\); expected at least two"):
        folder(**settings)
    (tmp_path / "images" / "1.jpg").touch()
    with pytest.raises(
        HypercolumnsError, match=r"^images=.* has 1 images .* one for train and one for val: add images"
    ):
        folder(**settings)


def test_any_utf8_file_name_is_accepted(settings, tmp_path, make_pair):
    for name in ("[red]a\nb", "<b>"):
        make_pair(tmp_path / "images" / f"{name}.jpg", tmp_path / "masks" / f"{name}.png")
    images = folder(**settings)
    check_headers(images)
    assert {"[red]a\nb", "<b>"} < {pair.id for pairs in images.splits.values() for pair in pairs}
    make_pair(tmp_path / "images" / "\udcff.jpg", tmp_path / "masks" / "\udcff.png")
    with pytest.raises(HypercolumnsError, match=r"names of the (train|val) split are not UTF-8 \(\\udcff\); rename"):
        folder(**settings)
