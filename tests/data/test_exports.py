"""Exports of tools, and downloads in other folders than their authors', by data=auto."""

import json

import numpy as np
import pytest
from PIL import Image

from hypercolumns.data.datasets import auto
from hypercolumns.data.layouts import recognise
from hypercolumns.errors import ArgumentError
from hypercolumns.io.masks import read_mask
from hypercolumns.labels import voc_palette

COCO = {
    "images": [{"id": 1, "file_name": "1.jpg", "height": 3, "width": 4}],
    "annotations": [{"image_id": 1, "category_id": 1, "segmentation": {"size": [3, 4], "counts": [0, 2, 10]}}],
    "categories": [{"id": 1, "name": "cat"}],
}


@pytest.fixture
def write(tmp_path):
    """Return a function that writes files: texts, JSON or, if there is no content, images of zeros."""

    def write(*names, **texts):
        for name in names:
            path = tmp_path / "set" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.zeros((3, 4) if path.suffix == ".png" else (3, 4, 3), np.uint8)).save(path)
        return tmp_path / "set"

    return write


def add(root, name, text):
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text if isinstance(text, str) else json.dumps(text))


def ids(images):
    return {split: [pair.id for pair in pairs] for split, pairs in images.splits.items()}


def voc_files(names, masks="SegmentationClass"):
    return [file for name in names for file in (f"JPEGImages/{name}.jpg", f"{masks}/{name}.png")]


def test_lists_of_cvat_are_told_by_their_names(write):
    root = write(*voc_files("123"))
    add(root, "class_names.txt", "ground\ncat")
    for name, text in (("Train", "1\n2\n"), ("Validation", "3\n"), ("Test", "2\n")):
        add(root, f"ImageSets/Segmentation/{name}.txt", text)
    assert ids(auto(root)) == {"train": ["1", "2"], "val": ["3"]}
    assert "with the lists Train and Validation (also there: Test)" in recognise(root).what
    add(root, "ImageSets/Segmentation/training.txt", "1\n")
    with pytest.raises(ArgumentError, match="with the lists Test, Train, Validation, training; choose by data=voc"):
        recognise(root)


@pytest.mark.parametrize(("name", "known"), [("2007_00000{}", True), ("00000{}", True), ("a{}", False)])
def test_classes_of_voc_are_known_by_its_ids(write, name, known):
    names = [name.format(number) for number in range(3)]
    root = write(*voc_files(names))
    add(root, "ImageSets/Segmentation/train.txt", "\n".join(names[:2]))
    add(root, "ImageSets/Segmentation/val.txt", names[2])
    if known:
        assert len(auto(root).classes) == 21
    else:
        with pytest.raises(ArgumentError, match="but no file lists the classes"):
            auto(root)


def test_own_classes_in_voc_folders_are_kept(write):
    root = write(*voc_files(["2007_000001", "2007_000002"]))
    for split, name in (("train", "2007_000001"), ("val", "2007_000002")):
        add(root, f"ImageSets/Segmentation/{split}.txt", name)
    add(root, "classes.txt", "ground\ncat")
    assert auto(root).classes == ("ground", "cat")


def test_older_folders_of_labelme_are_read(write):
    root = write(*voc_files("12", masks="SegmentationClassPNG"))
    add(root, "class_names.txt", "_background_\ncat")
    np.save(root / "1.npy", np.zeros((3, 4)))
    (root / "SegmentationClass").mkdir()
    (root / "1.npy").rename(root / "SegmentationClass/1.npy")
    found = auto(root)
    masks = {pair.mask.relative_to(root).as_posix() for pairs in found.splits.values() for pair in pairs}
    assert masks == {"SegmentationClassPNG/1.png", "SegmentationClassPNG/2.png"}


def test_masks_without_images_ask_for_them(write):
    root = write("SegmentationClass/1.png")
    with pytest.raises(ArgumentError, match=r"but not the images; copy the images to .*JPEGImages, or .*Save images"):
        recognise(root)


def test_datumaro_list_without_colours(write):
    root = write(*voc_files("12"))
    add(root, "labelmap.txt", "# label:color_rgb:parts:actions\nbackground:::\ncat:::\ndog:::\n")
    colours = np.array([voc_palette(3)], np.uint8)
    for name in "12":
        Image.fromarray(colours).save(root / f"SegmentationClass/{name}.png")
    found = auto(root)
    assert found.palette == voc_palette(3)
    assert read_mask(found.splits["val"][0].mask, found.scheme).tolist() == [[0, 1, 2]]


def test_splits_of_coco_are_told_in_any_case(write):
    root = write("images/Train/1.jpg", "images/Validation/1.jpg")
    for split in ("Train", "Validation"):
        add(root, f"annotations/instances_{split}.json", COCO)
    assert {split: len(pairs) for split, pairs in auto(root).splits.items()} == {"train": 1, "val": 1}


def write_panoptic(root):
    add(root, "annotations/panoptic_train.json", COCO | {"annotations": [panoptic("1.png")]})
    add(root, "annotations/panoptic_val.json", COCO | {"annotations": [panoptic("1.png")]})
    for split in ("train", "val"):
        folder = root / f"annotations/panoptic_{split}"
        folder.mkdir(parents=True)
        Image.fromarray(np.full((3, 4, 3), [7, 0, 0], np.uint8)).save(folder / "1.png")


def panoptic(file):
    return {"image_id": 1, "file_name": file, "segments_info": [{"id": 7, "category_id": 1}]}


def test_panoptic_files_of_datumaro_are_read(write):
    root = write("images/train/1.jpg", "images/val/1.jpg")
    write_panoptic(root)
    found = auto(root)
    assert found.classes == ("cat",)
    assert recognise(root).overrides() == f"data=coco_panoptic data.root={root}"
    assert read_mask(found.splits["val"][0].mask, found.scheme).tolist() == [[0] * 4] * 3


def test_several_annotations_of_coco_ask(write):
    root = write("images/train2017/1.jpg", "annotations/train2017/1.png")
    write_panoptic(root)
    add(root, "annotations/instances_train.json", COCO)
    choices = " or ".join(f"data={kind} data.root={root}" for kind in ("coco", "coco_panoptic", "coco_stuff"))
    with pytest.raises(ArgumentError, match=rf"^root=.* has COCO's instances and .*; choose by {choices}$"):
        recognise(root)


def test_cityscapes_layout_with_own_classes(write):
    files = [
        file
        for split, name in (("train", "a"), ("train", "b"), ("val", "c"))
        for file in (f"leftImg8bit/{split}/{name}_leftImg8bit.png", f"gtFine/{split}/{name}_gtFine_labelIds.png")
    ]
    root = write(*files, "gtFine/train/a_gtFine_color.png")
    add(root, "label_colors.txt", "0 0 0 ground\n128 0 0 cat\n")
    found = auto(root)
    assert ids(found) == {"train": ["train/a", "train/b"], "val": ["val/c"]}
    assert found.classes == ("ground", "cat")
    assert {pair.mask.name for pair in found.splits["train"]} == {"a_gtFine_labelIds.png", "b_gtFine_labelIds.png"}


def test_mapillary_1_2_beside_2_0(write):
    root = write("training/images/a.jpg", "training/v1.2/labels/a.png")
    with pytest.raises(ArgumentError, match=r"read it by data=mapillary data.root=\S+ \"data.mask_name='v1.2/labels/"):
        auto(root)


def segnet(root, splits, prefix="/SegNet/CamVid/"):
    for split, names in splits.items():
        lines = [f"{prefix}{split}/{name}.png {prefix}{split}annot/{name}.png" for name in names]
        add(root, f"{split}.txt", "\n".join(lines))


@pytest.mark.parametrize("prefix", ["/SegNet/CamVid/", "/", ""])
def test_lists_of_segnet_are_read(write, prefix):
    splits = {"train": "12", "val": "3", "test": "4"}
    files = [f"{split}{end}/{name}.png" for split, names in splits.items() for name in names for end in ("", "annot")]
    root = write(*files)
    segnet(root, splits, prefix)
    found = auto(root, classes=["ground"])
    assert ids(found) == {"train": ["train/1", "train/2"], "val": ["val/3"]}
    assert found.splits["val"][0].mask == root / "valannot/3.png"


def test_one_pair_of_folders_is_split_at_random(write):
    root = write(*(f"default{end}/{name}.png" for name in "123" for end in ("", "annot")))
    found = auto(root, classes=["ground"])
    assert sorted(id for of_split in ids(found).values() for id in of_split) == ["1", "2", "3"]
    assert all(pair.mask.parent == root / "defaultannot" for pairs in found.splits.values() for pair in pairs)


@pytest.mark.parametrize("name", ["id2label.json", "codes.txt"])
def test_other_lists_of_classes_are_found(write, name):
    root = write(*(f"{folder}/{name}.png" for name in "123" for folder in ("images", "labels")))
    add(root, name, {"0": "ground", "1": "cat"} if name.endswith(".json") else "ground\ncat\n")
    assert auto(root).classes == ("ground", "cat")


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (["images/1.jpg", "masks/task-1-annotation-2-by-1-tag-cat-0.png"], "Label Studio's PNG export.* export JSON"),
        (["images/1.jpg", "PixelLabelData/Label_1.png"], "MATLAB's labelers, which number the masks; .* data.train"),
        (["images/training/a/abbey/ADE_train_1_seg.png"], "full ADE20K.* read it by data=ade20k"),
        (["images/ADE/training/urban/street/ADE_train_1_seg.png"], "full ADE20K.* read it by data=ade20k"),
    ],
)
def test_masks_that_are_not_read_are_named(write, files, message):
    root = write(*files)
    with pytest.raises(ArgumentError, match=rf"^root=.* has masks that are not read: .*{files[-1]} is of .*{message}"):
        recognise(root)


def test_datumaro_json_is_named(write):
    root = write("images/default/1.jpg")
    add(root, "annotations/default.json", {"dm_format_version": "1.0", "items": []})
    with pytest.raises(ArgumentError, match=r"default\.json is of Datumaro's own JSON; export coco_instances"):
        recognise(root)
