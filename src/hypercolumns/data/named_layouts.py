"""Recognise data sets that many people download."""

from pathlib import Path

from hypercolumns.data.layout import Layout
from hypercolumns.io.files import glob_files


def find_sbd(root: Path) -> Path | None:
    """Return the folder of the Semantic Boundaries Dataset, `root` or one below it; None if there is none."""
    for folder in (root, root / "dataset", root / "benchmark_RELEASE" / "dataset"):
        if (folder / "img").is_dir() and glob_files(folder, "cls/*.mat"):
            return folder
    return None


def sbd_layout(root: Path) -> Layout | None:
    """Recognise the Semantic Boundaries Dataset, with any of its lists; None for another data set."""
    folder = find_sbd(root)
    if folder is None:
        return None
    lists = {name: name if (folder / f"{name}.txt").is_file() else None for name in ("train", "val")}
    changed = {} if all(lists.values()) else lists
    return Layout("the Semantic Boundaries Dataset", "sbd", {"root": folder, **changed})


def named_set(root: Path) -> Layout | None:
    """Recognise a data set whose classes have a file of settings of their own; None for another one."""
    if (root / "leftImg8bit").is_dir() and (root / "gtFine").is_dir():
        train_ids = glob_files(root / "gtFine", "*/*/*_gtFine_labelTrainIds.png")
        return Layout("Cityscapes", "cityscapes_train_ids" if train_ids else "cityscapes", {"root": root})
    for images, masks in (("images", "annotations"), (".", "stuffthingmaps"), ("images", "stuffthingmaps")):
        if (root / images / "train2017").is_dir() and glob_files(root / masks / "train2017", "*.png"):
            places = {"images": images, "masks": masks} if masks == "stuffthingmaps" else {}
            return Layout("COCO-Stuff (data=coco_stuff_27 merges its classes)", "coco_stuff", {"root": root, **places})
    if (root / "images" / "training").is_dir() and (root / "annotations" / "training").is_dir():
        return Layout("ADE20K", "ade20k", {"root": root})
    if (root / "701_StillsRaw_full").is_dir() and (root / "LabeledApproved_full").is_dir():
        return Layout("CamVid", "camvid", {"root": root})
    if (root / "training" / "images").is_dir() and (root / "training" / "v2.0" / "labels").is_dir():
        return Layout("Mapillary Vistas 2.0", "mapillary_v2", {"root": root})
    if (root / "training" / "images").is_dir() and (root / "training" / "instances").is_dir():
        return Layout("Mapillary Vistas 1.2", "mapillary", {"root": root})
    return None
