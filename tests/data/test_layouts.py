"""Layouts that are recognised, and the settings that say the same."""

import json
import shlex

import pytest
from helpers.layout_files import images_and_masks
from helpers.small_runs import config
from hydra.core.override_parser.overrides_parser import OverridesParser

from hypercolumns.cli.paths import quote_paths
from hypercolumns.data import folder, voc
from hypercolumns.data.annotations.json_file import json_kind
from hypercolumns.data.datasets import auto
from hypercolumns.data.layouts import recognise
from hypercolumns.errors import ArgumentError, HypercolumnsError
from hypercolumns.settings.data import image_index

CLASSES = ["ground", "cat"]


LAYOUTS = {
    "two folders": (images_and_masks("images/{}.jpg", "masks/{}.png"), 4),
    "other names of folders": (images_and_masks("Img/{}.jpg", "Labels/{}.png"), 4),
    "longer names of masks": (images_and_masks("images/{}.jpg", "masks/{}_L.png"), 4),
    "splits inside": (
        images_and_masks("images/train/{}.jpg", "masks/train/{}.png", "123")
        + images_and_masks("images/val/{}.jpg", "masks/val/{}.png", "4"),
        4,
    ),
    "splits outside": (
        images_and_masks("train/images/{}.jpg", "train/labels/{}.png", "123")
        + images_and_masks("valid/images/{}.jpg", "valid/labels/{}.png", "4"),
        4,
    ),
    "several sets": (
        images_and_masks("ds0/img/{}.jpg", "ds0/masks_machine/{}.png", "12")
        + images_and_masks("ds1/img/{}.jpg", "ds1/masks_machine/{}.png", "12"),
        4,
    ),
    "with pictures of masks": (
        images_and_masks("ds/img/{}.jpg", "ds/masks_machine/{}.png")
        + images_and_masks("ds/img/{}.jpg", "ds/masks_human/{}.png"),
        4,
    ),
    "beside": (images_and_masks("{}.jpg", "{}_mask.png"), 4),
    "beside in splits": (
        images_and_masks("train/a{}.rf.jpg", "train/a{}.rf_mask.png", "123")
        + images_and_masks("valid/a{}.rf.jpg", "valid/a{}.rf_mask.png", "4"),
        4,
    ),
    "two suffixes": (images_and_masks("{}.jpg", "{}.png"), 4),
    "two suffixes, some in capitals": (["1.jpg", "1.PNG", "2.JPG", "2.png", "3.JPG", "3.PNG"], 3),
    "beside, some in capitals": (["1.JPG", "1_mask.PNG", "2.jpg", "2_mask.png", "3.jpg", "3_mask.PNG"], 3),
    "LoveDA, splits": (
        images_and_masks("Train/Rural/images_png/{}.png", "Train/Rural/masks_png/{}.png", "12")
        + images_and_masks("Train/Urban/images_png/{}.png", "Train/Urban/masks_png/{}.png", "3")
        + images_and_masks("Val/Urban/images_png/{}.png", "Val/Urban/masks_png/{}.png", "4")
        + ["Test/Urban/images_png/5.png"],
        4,
    ),
    "BDD100K, splits": (
        images_and_masks("images/10k/train/{}.jpg", "labels/sem_seg/masks/train/{}.png", "123")
        + images_and_masks("images/10k/val/{}.jpg", "labels/sem_seg/masks/val/{}.png", "4")
        + ["images/10k/test/5.jpg"],
        4,
    ),
    "UAVid, splits": (
        images_and_masks("uavid_train/seq1/Images/{}.png", "uavid_train/seq1/Labels/{}.png", "12")
        + images_and_masks("uavid_train/seq2/Images/{}.png", "uavid_train/seq2/Labels/{}.png", "1")
        + images_and_masks("uavid_val/seq3/Images/{}.png", "uavid_val/seq3/Labels/{}.png", "4"),
        4,
    ),
    "DeepGlobe": ([*images_and_masks("train/10{}_sat.jpg", "train/10{}_mask.png"), "valid/200_sat.jpg"], 4),
    "ISIC": (images_and_masks("Training_Input/ISIC_{}.jpg", "Training_GroundTruth/ISIC_{}_segmentation.png"), 4),
    "Potsdam": (images_and_masks("4_Ortho/top_2_1{}_RGB.tif", "5_Labels/top_2_1{}_label.tif"), 4),
    "Oxford Pets": (images_and_masks("images/pug_{}.jpg", "annotations/trimaps/pug_{}.png"), 4),
    "nnU-Net": ([*images_and_masks("imagesTr/c_{}_0000.png", "labelsTr/c_{}.png"), "imagesTs/c_9_0000.png"], 4),
    "folders of one split": (
        [*images_and_masks("img_dir/train/{}.jpg", "ann_dir/train/{}.png"), "img_dir/test/5.jpg"],
        4,
    ),
    "different beginnings": (images_and_masks("a/im{}.jpg", "b/label{}.png"), 4),
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_folder_layouts(write, name, capsys):
    files, count = LAYOUTS[name]
    root = write(*files, "classes.txt")
    found = auto(root)
    pairs = [pair for pairs in found.splits.values() for pair in pairs]
    assert len({pair.id for pair in pairs}) == count == len({pair.mask for pair in pairs})
    assert all(pair.mask.is_file() and pair.image.is_file() for pair in pairs)
    assert not {pair.image for pair in pairs} & {pair.mask for pair in pairs}
    assert (found.name, found.classes) == ("set", tuple(CLASSES))
    if "splits" in name:
        assert [pair.id[-1] if "rf" not in pair.id else pair.id[-4] for pair in found.splits["val"]] == ["4"]
    layout = recognise(root)
    same = folder(**layout.settings, classes=root / "classes.txt", name="set")
    assert {split: set(pairs) for split, pairs in same.splits.items()} == {
        split: set(pairs) for split, pairs in found.splits.items()
    }
    assert f"as {layout.overrides()} data.classes={root / 'classes.txt'}" in capsys.readouterr().out.replace("\n", " ")


@pytest.mark.parametrize(
    "folder_name", ["a b", "a,b", "a=b", "[a]", "{a}", "it's", 'a"b', "2012", "Über", "a$b!", "~a"]
)
@pytest.mark.parametrize("name", ["longer names of masks", "splits outside"])
def test_printed_settings_can_be_pasted(tmp_path, write, name, folder_name, capsys):
    root = write(*LAYOUTS[name][0], "classes.txt").rename(tmp_path / folder_name)
    found = auto(root)
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("data: ")]
    words = shlex.split(line.partition(", as ")[2])
    assert words[0] == "data=folder"
    parse = OverridesParser.create().parse_overrides
    parsed = {part.key_or_group: part.value() for part in parse(words[1:])}
    assert {part.key_or_group: part.value() for part in parse(quote_paths(words[1:]))} == parsed
    same = folder(**{key.removeprefix("data."): value for key, value in parsed.items()})
    assert same.splits.keys() == found.splits.keys()
    assert {*same.splits["train"]} == {*found.splits["train"]}


@pytest.mark.parametrize("above", ["", "VOCdevkit/VOC2007/", "TrainVal/VOCdevkit/VOC2011/"])
@pytest.mark.parametrize("lists", [[], ["default"], ["train", "val", "trainval"]])
def test_voc_layouts(write, above, lists):
    root = write(*images_and_masks(above + "JPEGImages/{}.jpg", above + "SegmentationClass/{}.png"))
    (root / above / "class_names.txt").write_text("ground\ncat")
    for name in lists:
        path = root / above / f"ImageSets/Segmentation/{name}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text({"train": "1\n2\n", "val": "3\n"}.get(name, "1\n2\n3\n4\n"))
    found = auto(root)
    count = sum(len(pairs) for pairs in found.splits.values())
    assert count == (3 if "train" in lists else 4)
    same = voc(**recognise(root).settings, name="set")
    assert same.splits == found.splits


def test_unclear_lists_and_sets_ask(write):
    root = write(*images_and_masks("JPEGImages/{}.jpg", "SegmentationClass/{}.png"))
    for name in ("a", "b"):
        path = root / f"ImageSets/Segmentation/{name}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("1\n")
    with pytest.raises(ArgumentError, match="with the lists a, b; choose by data=voc"):
        recognise(root)
    write(*images_and_masks("VOCdevkit/VOC2007/JPEGImages/{}.jpg", "VOCdevkit/VOC2007/SegmentationClass/{}.png"))
    with pytest.raises(ArgumentError, match=r"holds several data sets in Pascal VOC's layout \(.*\); give one of them"):
        recognise(root)


@pytest.mark.parametrize(
    ("files", "kind"),
    [
        (["leftImg8bit/train/a/x.png", "gtFine/train/a/x_gtFine_labelIds.png"], "cityscapes"),
        (["leftImg8bit/train/a/x.png", "gtFine/train/a/x_gtFine_labelTrainIds.png"], "cityscapes_train_ids"),
        (["images/training/x.jpg", "annotations/training/x.png"], "ade20k"),
        (["training/images/x.jpg", "training/labels/x.png", "training/instances/x.png"], "mapillary"),
        (["training/images/x.jpg", "training/v2.0/labels/x.png"], "mapillary_v2"),
        (["images/train2017/1.jpg", "annotations/train2017/1.png"], "coco_stuff"),
        (["train2017/1.jpg", "stuffthingmaps/train2017/1.png"], "coco_stuff"),
        (["701_StillsRaw_full/x.png", "LabeledApproved_full/x_L.png"], "camvid"),
    ],
)
def test_named_sets_are_named(write, files, kind):
    root = write(*files)
    with pytest.raises(ArgumentError, match=rf"^root=.* has .*; read it by data={kind} data\.root="):
        auto(root)


@pytest.mark.parametrize(
    ("name", "content", "kind"),
    [
        ("annotations/instances.json", {"images": [], "annotations": [], "categories": []}, "coco"),
        ("a.json", {"version": "5", "shapes": [], "imagePath": "a.jpg"}, "labelme"),
        ("export.json", [{"id": 1, "annotations": [], "data": {"image": "a.jpg"}}], "label_studio"),
    ],
)
def test_json_files_are_recognised(write, name, content, kind):
    root = write(name, "images/a.jpg")
    (root / name).write_text(json.dumps(content))
    assert recognise(root).kind == kind


def test_json_kind_of_large_files(tmp_path):
    """Only the beginning of a file is read, which may hold a part of one list alone."""
    annotations = [{"id": id, "image_id": id, "category_id": 1} for id in range(5000)]
    images = [{"id": id, "file_name": f"{id}.png"} for id in range(5000)]
    for number, content in enumerate(({"annotations": annotations}, {"images": images}, {"names": [*range(50000)]})):
        file = tmp_path / f"{number}.json"
        file.write_text(json.dumps({**content, "annotations": annotations}))
        assert json_kind(file) == ("coco" if number < 2 else None)


def test_labelme_files_beside_a_folder_of_images(write):
    root = write("images/a.jpg", "annotations/a.json")
    (root / "annotations/a.json").write_text(json.dumps({"version": "5", "shapes": [], "imagePath": "a.jpg"}))
    assert recognise(root).settings == {"images": root / "images", "annotations": root / "annotations"}
    root = write("images/a.jpg", "photos/a.jpg", "photos/a.json")
    (root / "photos/a.json").write_text((root / "annotations/a.json").read_text())
    (root / "annotations/a.json").unlink()
    assert recognise(root).settings == {"images": root / "photos"}


def test_unknown_layout_says_what_is_known(write):
    root = write("stuff/1.jpg", "more/2.png")
    with pytest.raises(ArgumentError, match=r"has no known layout \(it holds more, stuff\); known are Pascal VOC's"):
        recognise(root)
    with pytest.raises(ArgumentError, match="is not a folder"):
        recognise(root / "nothing")


def test_classes_are_asked_for(write):
    root = write(*images_and_masks("images/{}.jpg", "masks/{}.png"))
    with pytest.raises(
        ArgumentError, match=r"has the folders images and masks \(data=folder .*\), but no file lists the classes"
    ):
        auto(root)
    assert auto(root, classes=CLASSES).classes == tuple(CLASSES)
    with pytest.raises(ArgumentError, match="root=null: data=auto needs the folder"):
        auto(None)


@pytest.mark.parametrize(
    "settings",
    [
        ["data=voc"],
        ["data=coco"],
        ["data=sbd"],
        ["data=labelme", "data.images=images"],
        ["data=cityscapes"],
        ["data=folder", "data.classes=[a]"],
        ["data=folder", "data.classes=[a]", "data.images=photos", "data.masks=masks"],
        ["data=folder", "data.classes=[a]", "data.images=masks", "data.masks=images", "data.mask_name='{id}_x.png'"],
    ],
)
def test_another_layout_is_named(write, settings):
    root = write(*images_and_masks("images/{}.jpg", "masks/{}.png"))
    with pytest.raises(
        HypercolumnsError,
        match=rf"; {root} has the folders images and masks: read it by data=auto data\.root={root}, or by data=folder ",
    ):
        image_index(config("train", *settings, f"data.root={root}"))


def test_folders_without_root_name_the_layout(write):
    root = write(*images_and_masks("images/{}.jpg", "masks/{}.png"))
    given = ["data=folder", "data.classes=[a]", f"data.images={root}/photos", f"data.masks={root}/masks"]
    with pytest.raises(
        HypercolumnsError, match=rf"photos is not a folder; .*; {root} has the folders images and masks"
    ):
        image_index(config("train", *given))


@pytest.mark.parametrize(
    ("image", "mask"), [("images/{}/{{}}.jpg", "masks/{}/{{}}.png"), ("{}/images/{{}}.jpg", "{}/masks/{{}}.png")]
)
def test_test_images_are_not_trained_on(write, image, mask):
    files = [
        name
        for split in ("train", "test")
        for name in images_and_masks(image.format(split), mask.format(split), names="1234")
    ]
    found = auto(write(*files, "classes.txt"))
    pairs = [pair for pairs in found.splits.values() for pair in pairs]
    assert len(pairs) == 4
    assert all("train" in str(pair.image) for pair in pairs)


CLUTTER = ["@eaDir", "__MACOSX", ".ipynb_checkpoints", "#recycle"]


def add_clutter(root):
    """Put into every folder what systems leave there: copies of all its files, with other contents."""
    for place in [root, *(path for path in sorted(root.rglob("*")) if path.is_dir())]:
        names = [path.name for path in place.iterdir() if path.is_file()]
        for copies in [*(place / name for name in CLUTTER), place]:
            copies.mkdir(exist_ok=True)
            for name in names:
                (copies / (f"._{name}" if copies == place else name)).write_bytes(b"Mac OS X")
        for name in ("Thumbs.db", "desktop.ini", ".DS_Store"):
            (place / name).write_bytes(b"clutter")
        (root / "__MACOSX" / place.relative_to(root)).mkdir(parents=True, exist_ok=True)


CLUTTERED = {
    **{name: [*files, "classes.txt"] for name, (files, _) in LAYOUTS.items()},
    "voc": [
        *images_and_masks("JPEGImages/{}.jpg", "SegmentationClass/{}.png"),
        *("class_names.txt", "ImageSets/Segmentation/default.txt"),
    ],
    "coco": ["images/1.jpg", "images/2.jpg", "annotations/instances_default.json"],
    "roboflow": ["train/1.jpg", "train/2.jpg", "train/_annotations.coco.json"],
    "labelme": ["1.jpg", "2.jpg", "1.json", "2.json"],
    "label studio": ["photos/1.jpg", "photos/2.jpg", "export.json"],
}


@pytest.mark.parametrize("name", CLUTTERED)
def test_clutter_of_systems_is_no_data(write, name):
    root = write(*CLUTTERED[name])
    for path in root.rglob("*.json"):
        path.write_text(json.dumps(ANNOTATIONS[name](path)))
    for path in root.rglob("default.txt"):
        path.write_text("1\n2\n3\n4\n")
    before = auto(root)
    add_clutter(root)
    assert auto(root) == before


CATEGORIES = [{"id": 1, "name": "cat"}]
COCO = {
    "images": [{"id": n, "file_name": f"{n}.jpg", "height": 3, "width": 4} for n in (1, 2)],
    "annotations": [{"image_id": 1, "category_id": 1, "segmentation": [[0, 0, 2, 0, 2, 2]]}],
    "categories": CATEGORIES,
}
REGION = {"format": "rle", "brushlabels": ["cat"], "rle": [0]}
ANNOTATIONS = {
    "coco": lambda path: COCO,
    "roboflow": lambda path: COCO,
    "labelme": lambda path: {
        "imagePath": f"{path.stem}.jpg",
        "imageHeight": 3,
        "imageWidth": 4,
        "shapes": [{"label": "cat", "shape_type": "polygon", "points": [[0, 0], [2, 0], [2, 2]]}],
    },
    "label studio": lambda path: [
        {
            "id": n,
            "data": {"image": f"/data/upload/1/{n}.jpg"},
            "annotations": [{"id": n, "result": [{"type": "brushlabels", "value": REGION, "to_name": "image"}]}],
        }
        for n in (1, 2)
    ],
}
