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


def test_what_is_not_read_is_said(write):
    splits = ("train", "val", "test")
    inside = [name for split in splits for name in images_and_masks(f"a/{split}/{{}}.jpg", f"masks/{split}/{{}}.png")]
    assert recognise(write(*inside)).what == "the folders a and masks (not read: test)"


def test_folders_that_are_not_read_are_named(write):
    files = images_and_masks("train/{}.jpg", "train_labels/{}_L.png")
    files += images_and_masks("val/{}.jpg", "val_labels/{}_L.png", "67")
    layout = recognise(write(*files))
    assert layout.what == "the folders train and train_labels (not read: val)"
    assert layout.settings["masks"].name == "train_labels"


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
