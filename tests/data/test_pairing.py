"""How the files of images and masks are found and paired."""

import numpy as np
import pytest
from PIL import Image

from hypercolumns.data import folder, shared_ids, voc
from hypercolumns.errors import HypercolumnsError

CLASSES = ["ground", "cat"]


@pytest.fixture
def write(tmp_path):
    def write(*names):
        for name in names:
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            pixels = np.zeros((3, 4) if "mask" in name or "gt" in name or "annot" in name else (3, 4, 3), np.uint8)
            Image.fromarray(pixels).save(path)
        return tmp_path

    return write


def files(images, root):
    """Return the paths of the image and of the mask of each id, relative to a folder, for each split."""
    return {
        split: {pair.id: tuple(path.relative_to(root).as_posix() for path in (pair.image, pair.mask)) for pair in pairs}
        for split, pairs in images.splits.items()
    }


def all_files(images, root):
    found = files(images, root)
    return found["train"] | found["val"]


@pytest.mark.parametrize("suffix", [".png", ".tif", ".bmp"])
def test_masks_with_another_suffix_are_found(write, suffix):
    root = write("images/a/1.png", "images/2.jpg", f"masks/a/1{suffix}", f"masks/2{suffix}")
    assert all_files(folder(root / "images", root / "masks", CLASSES), root) == {
        "a/1": ("images/a/1.png", f"masks/a/1{suffix}"),
        "2": ("images/2.jpg", f"masks/2{suffix}"),
    }


def test_masks_beside_the_images(write):
    root = write("1.jpg", "1_mask.png", "b/2.jpg", "b/2_mask.png", "3.jpg", "3_mask.png")
    found = all_files(folder(root, root, CLASSES, mask_name="{id}_mask.png"), root)
    assert found == {"1": ("1.jpg", "1_mask.png"), "3": ("3.jpg", "3_mask.png"), "b/2": ("b/2.jpg", "b/2_mask.png")}


def test_same_name_with_two_suffixes_asks(write):
    root = write("1.jpg", "1.png", "2.jpg", "2.png")
    with pytest.raises(HypercolumnsError, match=r"would have the same mask; rename one .* image_name and mask_name"):
        folder(root, root, CLASSES)
    found = all_files(folder(root, root, CLASSES, image_name="{id}.jpg", mask_name="{id}.png"), root)
    assert found == {"1": ("1.jpg", "1.png"), "2": ("2.jpg", "2.png")}


def test_names_of_cityscapes_and_split_trees(write):
    root = write(
        *(f"leftImg8bit/{place}_leftImg8bit.png" for place in ("train/aachen/a_1", "train/ulm/u_1", "val/bonn/b_1")),
        *(f"gtFine/{place}_gtFine_labelIds.png" for place in ("train/aachen/a_1", "train/ulm/u_1", "val/bonn/b_1")),
        "gtFine/train/ulm/u_1_gtFine_color.png",
    )
    names = {"image_name": "{id}_leftImg8bit.png", "mask_name": "{id}_gtFine_labelIds.png"}
    images = folder(root / "leftImg8bit", root / "gtFine", CLASSES, train="train", val="val", **names)
    assert [*files(images, root)["train"]] == ["train/aachen/a_1", "train/ulm/u_1"]
    assert files(images, root)["val"] == {
        "val/bonn/b_1": (
            "leftImg8bit/val/bonn/b_1_leftImg8bit.png",
            "gtFine/val/bonn/b_1_gtFine_labelIds.png",
        )
    }


def test_lists_of_pairs(write):
    """Lists often name folders of the machine on which they were written."""
    root = write("train/1.png", "trainannot/1.png", "train/2.png", "trainannot/2.png")
    (root / "train.txt").write_text("/SegNet/CamVid/train/2.png /SegNet/CamVid/trainannot/2.png\n")
    (root / "val.txt").write_text("train/1.png trainannot/1.png\n")
    images = folder(root, root, CLASSES, train=root / "train.txt", val=root / "val.txt", image_name="{id}.none")
    assert files(images, root) == {
        "train": {"train/2": ("train/2.png", "trainannot/2.png")},
        "val": {"train/1": ("train/1.png", "trainannot/1.png")},
    }
    (root / "val.txt").write_text("train/1.png trainannot/9.png\n")
    with pytest.raises(
        HypercolumnsError, match=r"val=.* lists train/1\.png and others|val=.* lists trainannot/9\.png and others"
    ):
        folder(root, root, CLASSES, train=root / "train.txt", val=root / "val.txt", image_name="{id}.none")


def test_masks_of_another_name_are_suggested(write):
    root = write("images/1.jpg", "images/2.jpg", "masks/1_L.png", "masks/2_L.png")
    with pytest.raises(
        HypercolumnsError,
        match=r"a mask for none of the 2 images; .*2_L.png seems to be .*data\.mask_name='{id}_L\.png'",
    ):
        folder(root / "images", root / "masks", CLASSES)


@pytest.mark.parametrize("pattern", ["mask.png", "{id}{id}.png", "{id}/a.png", "/a/{id}.png", "{id}"])
def test_invalid_name_pattern_is_refused(write, pattern):
    root = write("images/1.jpg", "masks/1.png")
    with pytest.raises(HypercolumnsError, match=r"^mask_name=.* must be the name of a file with {id} in place of"):
        folder(root / "images", root / "masks", CLASSES, mask_name=pattern)


def test_hidden_folders_are_no_data(write):
    root = write("images/1.jpg", "images/2.jpg", "images/.ipynb_checkpoints/1.jpg", "images/._2.jpg", "masks/1.png")
    assert {*all_files(folder(root / "images", root / "masks", CLASSES), root)} == {"1", "2"}


def test_unlabelled_images_are_not_drawn_for_val(write):
    root = write(*(f"images/{number}.jpg" for number in range(8)), "masks/2.png", "masks/5.png")
    found = files(folder(root / "images", root / "masks", CLASSES), root)
    assert len(found["val"]) == 1
    assert {*found["val"]} < {"2", "5"}


def layout(write, *more):
    return write("JPEGImages/1.png", "JPEGImages/2.png", "SegmentationClass/1.png", "SegmentationClass/2.png", *more)


def test_voc_layout_without_devkit(write):
    """CVAT and Datumaro write one list, default.txt, and labelmap.txt."""
    root = layout(write)
    (root / "ImageSets/Segmentation").mkdir(parents=True)
    (root / "ImageSets/Segmentation/default.txt").write_text("1\n2\n")
    (root / "labelmap.txt").write_text("# label:color_rgb:parts:actions\nground:1,2,3::\ncat:4,5,6::\n")
    with pytest.raises(HypercolumnsError, match=r"lists in this folder are default\. With val=null, .* train=default"):
        voc(root)
    images = voc(root, train="default", val=None)
    assert (images.classes, images.palette) == (("ground", "cat"), ((1, 2, 3), (4, 5, 6)))
    assert sorted(len(pairs) for pairs in images.splits.values()) == [1, 1]
    assert all_files(images, root)["1"] == ("JPEGImages/1.png", "SegmentationClass/1.png")


def test_voc_layout_without_lists(write):
    """labelme writes no lists, but class_names.txt."""
    root = layout(write)
    (root / "class_names.txt").write_text("_background_\ncat")
    images = voc(root, train=None, val=None)
    assert images.classes == ("_background_", "cat")
    assert [*all_files(images, root)] in (["1", "2"], ["2", "1"])


def test_voc_masks_come_before_those_of_sbd(write):
    root = layout(write, "JPEGImages/3.png", *(f"SegmentationClassAug/{number}.png" for number in (1, 3)))
    (root / "ImageSets/Segmentation").mkdir(parents=True)
    (root / "ImageSets/Segmentation/trainaug.txt").write_text("1\n3\n")
    pairs = "/JPEGImages/1.png /SegmentationClassAug/1.png\n/JPEGImages/3.png /SegmentationClassAug/3.png\n"
    (root / "ImageSets/Segmentation/train_aug.txt").write_text(pairs)
    (root / "ImageSets/Segmentation/val.txt").write_text("2\n")
    masks = [mask for _, mask in files(voc(root, train="trainaug"), root)["train"].values()]
    assert masks == ["SegmentationClass/1.png", "SegmentationClassAug/3.png"]
    listed = files(voc(root, train="train_aug"), root)["train"]
    assert listed == {
        "1": ("JPEGImages/1.png", "SegmentationClassAug/1.png"),
        "3": ("JPEGImages/3.png", "SegmentationClassAug/3.png"),
    }


def test_images_and_masks_in_neighbouring_folders(write):
    root = write(
        "training/images/1.jpg", "training/v2.0/labels/1_mask.png", "validation/images/2.jpg", "other/images2/3.jpg"
    )
    names = {"image_name": "images/{id}.jpg", "mask_name": "v2.0/labels/{id}_mask.png"}
    images = folder(".", ".", CLASSES, root=root, train="training", val="validation", **names)
    assert files(images, root) == {
        "train": {"training/1": ("training/images/1.jpg", "training/v2.0/labels/1_mask.png")},
        "val": {"validation/2": ("validation/images/2.jpg", "validation/v2.0/labels/2_mask.png")},
    }


def test_lists_leave_out_the_same_folders(write):
    """A file of the same name in another folder must not take the place of a missing one."""
    root = write("a/0.png", "a/1.png", "am/0.png", "0.png")
    (root / "train.txt").write_text("a/0.png am/0.png\na/1.png am/1.png\n")
    with pytest.raises(HypercolumnsError, match=r"which are not all files below .*, such as .*am/1\.png"):
        folder(root, root, CLASSES, train=root / "train.txt", val=root / "train.txt", image_name="{id}.none")
    (root / "train.txt").write_text("a/0.png am/0.png\na/1.png am/0.png\n")
    with pytest.raises(HypercolumnsError, match="names one mask for two images"):
        folder(root, root, CLASSES, train=root / "train.txt", val=root / "train.txt", image_name="{id}.none")


def test_one_file_by_two_ids_is_in_both_splits(write):
    root = write("images/0.png", "images/1.png", "masks/0.png", "masks/1.png")
    (root / "train.txt").write_text("images/0.png masks/0.png\n")
    (root / "val.txt").write_text("0\n")
    images = folder(root / "images", root / "masks", CLASSES, train=root / "train.txt", val=root / "val.txt")
    assert shared_ids(images) == ["images/0", "0"]


@pytest.mark.parametrize("suffix", [".PNG", ".TIF", ".Bmp"])
@pytest.mark.parametrize("pattern", ["{id}.*", "{id}.small"])
def test_suffixes_in_capitals_are_found(write, suffix, pattern):
    root = write("images/1.JPG", "images/2.jpg", f"masks/1{suffix}", f"masks/2{suffix.lower()}")
    names = {"image_name": "{id}.jpg", "mask_name": "{id}" + suffix.lower()} if "small" in pattern else {}
    assert all_files(folder(root / "images", root / "masks", CLASSES, **names), root) == {
        "1": ("images/1.JPG", f"masks/1{suffix}"),
        "2": ("images/2.jpg", f"masks/2{suffix.lower()}"),
    }


def test_pattern_in_capitals_finds_small_suffixes(write):
    root = write("images/1.jpg", "images/2.jpg", "masks/1_L.png", "masks/2_L.PNG")
    names = {"image_name": "{id}.JPG", "mask_name": "{id}_L.PNG"}
    assert all_files(folder(root / "images", root / "masks", CLASSES, **names), root) == {
        "1": ("images/1.jpg", "masks/1_L.png"),
        "2": ("images/2.jpg", "masks/2_L.PNG"),
    }


def test_voc_layout_in_capitals_is_found(write):
    root = write("JPEGImages/1.JPG", "JPEGImages/2.Jpg", "SegmentationClass/1_mask.png")
    for number in (1, 2):
        (root / "SegmentationClass/1_mask.png").rename(root / f"SegmentationClass/{number}.PNG")
        write("SegmentationClass/1_mask.png")
    (root / "ImageSets/Segmentation").mkdir(parents=True)
    (root / "ImageSets/Segmentation/all.txt").write_text("1\n2\n")
    assert all_files(voc(root, classes=CLASSES, train="all", val=None), root) == {
        "1": ("JPEGImages/1.JPG", "SegmentationClass/1.PNG"),
        "2": ("JPEGImages/2.Jpg", "SegmentationClass/2.PNG"),
    }
