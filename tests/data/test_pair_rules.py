"""Rules by which masks belong to images, where several are possible or names do not tell."""

import numpy as np
import pytest
from helpers.layout_files import images_and_masks
from PIL import Image

from hypercolumns.data.datasets import auto
from hypercolumns.data.layouts import recognise
from hypercolumns.errors import ArgumentError


def test_pixels_tell_masks_where_names_do_not(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
    for name in ("1", "2", "3"):
        for place, pixels in (("z", noise), ("q", np.eye(32, dtype=np.uint8))):
            (tmp_path / place).mkdir(exist_ok=True)
            Image.fromarray(pixels).save(tmp_path / place / f"{name}.png")
    assert recognise(tmp_path).settings == {"images": tmp_path / "z", "masks": tmp_path / "q"}
    (tmp_path / "q").rename(tmp_path / "unused")
    (tmp_path / "depth").mkdir()
    for name in ("1", "2", "3"):
        Image.fromarray(noise[..., 0]).save(tmp_path / "depth" / f"{name}.png")
        (tmp_path / "unused" / f"{name}.png").unlink()
    with pytest.raises(ArgumentError, match="has no known layout"):  # a depth map has too many values for a mask
        recognise(tmp_path)


def test_several_kinds_of_masks_ask(write):
    files = [
        f"{place}/{split}/{name}.png"
        for split, names in (("train", "123"), ("val", "12"))
        for name in names
        for place in ("images", "labels/masks", "labels/colours")
    ]
    with pytest.raises(
        ArgumentError, match=r"several files that could be .*/colours .*; or .*/masks data\.train=train"
    ):
        recognise(write(*files))


def test_what_is_not_read_is_said(write, capsys):
    splits = ("train", "val", "test")
    inside = [name for split in splits for name in images_and_masks(f"a/{split}/{{}}.jpg", f"masks/{split}/{{}}.png")]
    auto(write(*inside), ["ground"])
    assert "data: not read: a/test (4 files), masks/test (4 files)" in capsys.readouterr().out.replace("\n", " ")


@pytest.mark.parametrize("count", [2, 4])
def test_train_and_val_in_trees_of_their_own(write, count):
    files = images_and_masks("train/{}.jpg", "train_labels/{}_L.png")
    files += images_and_masks("val/{}.jpg", "val_labels/{}_L.png", "1234"[:count])
    found = auto(write(*files, *images_and_masks("test/{}.jpg", "test_labels/{}_L.png")), ["ground"])
    assert [pair.id for pair in found.splits["train"]] == ["train/1", "train/2", "train/3", "train/4"]
    assert [pair.id for pair in found.splits["val"]] == [f"val/{number}" for number in "1234"[:count]]
    assert all(pair.mask.name == f"{pair.id[-1]}_L.png" and pair.mask.is_file() for pair in found.splits["val"])


def test_folders_of_segnet_without_lists(write):
    files = images_and_masks("train/{}.png", "trainannot/{}.png") + images_and_masks("val/{}.png", "valannot/{}.png")
    settings = recognise(write(*files)).settings
    assert [path.name for path in settings.values()] == ["train", "trainannot", "val", "valannot"]


def test_sets_without_names_of_splits_ask(write):
    files = images_and_masks("a/images/{}.jpg", "a/masks/{}_m.png")
    root = write(*files, *images_and_masks("b/images/{}.jpg", "b/masks/{}_n.png"))
    with pytest.raises(ArgumentError, match=r"several sets of images and masks; choose one by .*a/images .*b/images "):
        recognise(root)


@pytest.mark.parametrize(
    "names", [("{}_road.png", "{}_car.png"), ("{}_1.png", "{}_2.png"), ("{}_1stHO.png", "{}_2ndHO.png")]
)
def test_several_masks_of_an_image_ask(write, names):
    root = write(*(f"images/00{number}.jpg" for number in "1234"))
    root = write(*(f"masks/{name.format(f'00{number}')}" for name in names for number in "1234"))
    with pytest.raises(
        ArgumentError, match=r"4 files beside the images and masks are neither of them .*write all masks"
    ):
        auto(root, ["ground"])


def test_images_of_test_are_never_drawn(write):
    inside = [
        name
        for split in ("trainval", "test")
        for name in images_and_masks(f"images/{split}/{{}}.jpg", f"masks/{split}/{{}}.png")
    ]
    found = auto(write(*inside), ["ground"])
    assert {pair.image.parent.name for pairs in found.splits.values() for pair in pairs} == {"trainval"}


def test_folders_beside_test_ask(write):
    inside = [
        name
        for split in ("a", "b", "test")
        for name in images_and_masks(f"images/{split}/{{}}.jpg", f"masks/{split}/{{}}.png")
    ]
    with pytest.raises(ArgumentError, match="but no settings say where all are"):
        recognise(write(*inside))


def test_lists_beside_the_folders_are_used(write):
    root = write(*images_and_masks("images/{}.jpg", "masks/{}.png"))
    (root / "splits").mkdir()
    (root / "splits/train.txt").write_text("4\n2\n")
    (root / "splits/val.txt").write_text("1\n")
    found = auto(root, ["ground"])
    assert {split: [pair.id for pair in pairs] for split, pairs in found.splits.items()} == {
        "train": ["4", "2"],
        "val": ["1"],
    }


@pytest.mark.parametrize("names", [["train"], ["train", "test"], ["train", "val"]])
def test_lists_that_do_not_fit_ask(write, names):
    root = write(*images_and_masks("images/{}.jpg", "masks/{}.png"))
    for name in names:
        (root / f"{name}.txt").write_text("1.jpg\n2.jpg\n" if name == "train" else "9\n")
    with pytest.raises(ArgumentError, match=r"and lists of images \(.*train\.txt.* data\.train=.* data\.val=LIST"):
        recognise(root)


@pytest.mark.parametrize("suffix", ["jpg", "gif"])
def test_masks_of_lossy_formats_are_named(write, suffix):
    root = write(*images_and_masks("images/{}.jpg", "masks/{}." + suffix))
    with pytest.raises(
        ArgumentError, match=rf"masks/1\.{suffix} seems to be the mask of .*images/1\.jpg, but masks must"
    ):
        recognise(root)


def test_what_masks_hold_is_said(write):
    root = write(*images_and_masks("images/{}.jpg", "masks/{}.png"))
    with pytest.raises(
        ArgumentError, match=r"no file lists the classes; 4 of the masks hold 1 colours: \(0, 0, 0\); give"
    ):
        auto(root)
    for number in "12":
        Image.fromarray(np.array([[0, 1, 7]], np.uint8)).save(root / f"masks/{number}.png")
    with pytest.raises(
        ArgumentError, match=r"4 of the masks hold the values 0 to 1, 7 and 1 colours: \(0, 0, 0\); give"
    ):
        auto(root)


def test_many_folders_have_one_rule(write):
    files = images_and_masks("a/images/s{0}/{0}.jpg", "a/masks/s{0}/{0}.png", range(60))
    assert recognise(write(*files)).settings["masks"].name == "masks"
    other = images_and_masks("b/s{0}/rgb/{0}.jpg", "b/s{0}/gt/{0}.png", range(60))
    assert recognise(write(*other) / "b").settings["mask_name"] == "gt/{id}.*"
