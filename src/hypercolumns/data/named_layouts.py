"""Recognise data sets that many people download."""

from pathlib import Path
from typing import Any

from hypercolumns.data.annotations.coco_layout import TASKS
from hypercolumns.data.layout import Layout
from hypercolumns.data.pairing import ID
from hypercolumns.errors import ArgumentError
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


def coco_layout(root: Path) -> Layout | None:
    """Recognise COCO's files in the folder annotations, and the masks of COCO-Stuff; None for other files.

    Raises:
        ArgumentError: if there is more than one of instances, panoptic segments and COCO-Stuff.
    """
    instances, panoptic = (glob_files(root / "annotations", f"{task}_*.json") for task in TASKS)
    found = [Layout("COCO's instances", "coco", {"root": root})] if instances else []
    if any(path.with_suffix("").is_dir() for path in panoptic):
        found.append(Layout("COCO's panoptic segments", "coco_panoptic", {"root": root}))
    for images, masks in (("images", "annotations"), (".", "stuffthingmaps"), ("images", "stuffthingmaps")):
        if (root / images / "train2017").is_dir() and glob_files(root / masks / "train2017", "*.png"):
            places = {"images": images, "masks": masks} if masks == "stuffthingmaps" else {}
            what = "COCO-Stuff (data=coco_stuff_27 merges its classes)"
            found.append(Layout(what, "coco_stuff", {"root": root, **places}))
    if len(found) > 1:
        raise ArgumentError(
            f"root={root} has {' and '.join(layout.what for layout in found)}; choose by "
            f"{' or '.join(layout.overrides() for layout in found)}"
        )
    return found[0] if found else None


def named_set(root: Path, own_classes: bool = False) -> Layout | None:
    """Recognise a data set whose classes have a file of settings of their own; None for another one.

    `own_classes`: whether the classes are given or listed by a file, see `layouts.recognise`.
    """
    if (root / "leftImg8bit").is_dir() and (root / "gtFine").is_dir():
        if (root / "label_colors.txt").is_file():  # Datumaro writes Cityscapes' layout for any classes
            return Layout("Cityscapes' layout with classes of its own", "folder", _cityscapes_settings(root))
        train_ids = glob_files(root / "gtFine", "*/*/*_gtFine_labelTrainIds.png")
        return Layout("Cityscapes", "cityscapes_train_ids" if train_ids else "cityscapes", {"root": root})
    ade20k = (root / "images" / "training").is_dir() and (root / "annotations" / "training").is_dir()
    if ade20k and not own_classes:
        return Layout("ADE20K", "ade20k", {"root": root})
    if (root / "701_StillsRaw_full").is_dir() and (root / "LabeledApproved_full").is_dir():
        return Layout("CamVid", "camvid", {"root": root})
    if (root / "training" / "images").is_dir() and (root / "training" / "v2.0" / "labels").is_dir():
        return Layout("Mapillary Vistas 2.0", "mapillary_v2", {"root": root})
    if (root / "training" / "images").is_dir() and (root / "training" / "instances").is_dir():
        return Layout("Mapillary Vistas 1.2", "mapillary", {"root": root})
    if (root / "training" / "images").is_dir() and (root / "training" / "v1.2" / "labels").is_dir():
        settings = {"root": root, "mask_name": f"v1.2/labels/{ID}.png"}
        return Layout("Mapillary Vistas 1.2 in the folders of 2.0", "mapillary", settings)
    return None


def _cityscapes_settings(root: Path) -> dict[str, Any]:
    """Return the settings of `folder` for Cityscapes' layout."""
    splits = {name: name for name in ("train", "val") if (root / "leftImg8bit" / name).is_dir()}
    names = {"image_name": f"{ID}_leftImg8bit.png", "mask_name": f"{ID}_gtFine_labelIds.png"}
    return {"root": root, "images": "leftImg8bit", "masks": "gtFine", **names, **(splits if len(splits) == 2 else {})}
