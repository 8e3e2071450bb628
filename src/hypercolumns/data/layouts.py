"""Recognise the layout of a folder of images and masks, as tools and data sets lay their files out."""

from collections.abc import Iterable
from functools import partial
from pathlib import Path

from hypercolumns.data.annotations.json_file import json_kind
from hypercolumns.data.layout import MAX_LOOKED_AT, SPLITS, Layout, folder_named, list_files, list_folders
from hypercolumns.data.named_layouts import coco_layout, named_set, sbd_layout
from hypercolumns.data.other_formats import misleading_format, other_format
from hypercolumns.data.pair_layout import paired_layout
from hypercolumns.data.pair_rules import pictures
from hypercolumns.data.pairing import read_pairs
from hypercolumns.data.voc_layout import voc_layout
from hypercolumns.errors import ArgumentError, HypercolumnsError
from hypercolumns.io.files import glob_files
from hypercolumns.io.images import SUFFIXES

CLASS_FILES = (
    *("labelmap.txt", "label_colors.txt", "_classes.csv", "class_dict.csv", "class_dict_seg.csv"),
    *("dataset_meta.json", "dataset.json", "obj_class_to_machine_color.json", "id2label.json"),
    *("class_names.txt", "classes.txt", "labels.txt", "codes.txt"),
)
IMAGE_FOLDERS = ("images", "image", "imgs", "img", "photos", "pictures")  # beside a folder of labelme's files


def recognise(root: Path, own_classes: bool = False) -> Layout:
    """Recognise the layout of the files in a folder.

    Args:
        root: the folder.
        own_classes: whether the classes are given or listed by a file, so that they are not ADE20K's if only the names
            of the folders are.

    Returns:
        The layout, with all settings except the classes.

    Raises:
        ArgumentError: if the folder does not exist, or its layout is not known. The message says what was looked for.
    """
    if not root.is_dir():
        raise ArgumentError(f"root={root} is not a folder; give the folder of the data set")
    misleading = misleading_format(root)
    if misleading is not None:
        raise ArgumentError(f"root={root} has masks that are not read: {misleading}")
    named = partial(named_set, own_classes=own_classes)
    for look in (voc_layout, sbd_layout, coco_layout, named, _lists_of_pairs, paired_layout, _json):
        layout = look(root)
        if layout is not None:
            return layout
    other = other_format(root)
    if other is not None:
        raise ArgumentError(f"root={root} has no annotations that are read: {other}")
    folders = ", ".join(sorted(path.name for path in list_folders(root))[:10]) or "no folders"
    raise ArgumentError(
        f"root={root} has no known layout (it holds {folders}); known are Pascal VOC's, folders of images and of masks "
        f"(such as images and masks, with or without train and val), masks beside the images (such as 1.jpg and "
        f"1_mask.png), and JSON files of COCO, labelme and Label Studio; {_differ_in_case(root)}say where the files "
        f"are by data=folder data.images=FOLDER data.masks=FOLDER"
    )


def _differ_in_case(root: Path) -> str:
    """Return a clause that names two files in different folders that differ in capitals; "" if there are none."""
    names: dict[str, Path] = {}
    for path in pictures(root):
        other = names.setdefault(path.stem.casefold(), path)
        if other.stem != path.stem and other.parent != path.parent:
            return (
                f"the names of {other} and {path} differ in small and capital letters: rename them, as an image and "
                f"its mask must have the same name; or "
            )
    return ""


def seen_instead(places: Iterable[Path]) -> str:
    """Return a clause that names the settings for the layout of the first folder that has one; "" if none has."""
    for place in places:
        try:
            layout = recognise(place)
        except HypercolumnsError:
            continue
        return f"; {place} has {layout.what}: read it by data=auto data.root={place}, or by {layout.overrides()}"
    return ""


def find_class_file(root: Path) -> Path | None:
    """Return the file that lists the classes in a folder or in its folder of train images; None if there is none."""
    places = [root, *(folder for folder in list_folders(root) if folder.name.lower() in SPLITS[0])]
    return next((place / name for name in CLASS_FILES for place in places if (place / name).is_file()), None)


def _json(root: Path) -> Layout | None:
    """Annotations of COCO, labelme or Label Studio in JSON files."""
    for path in glob_files(root, "*.json", "*/*.json")[:MAX_LOOKED_AT]:
        if path.name in CLASS_FILES:
            continue
        kind = json_kind(path)
        if kind == "labelme":
            images = folder_named(root, IMAGE_FOLDERS)
            if images is None or any(file.suffix.lower() in SUFFIXES for file in list_files(path.parent)):
                return Layout("labelme's JSON files", kind, {"images": path.parent})
            return Layout("labelme's JSON files", kind, {"images": images, "annotations": path.parent})
        if kind == "coco":
            return Layout("COCO's JSON", kind, {"root": root})
        if kind == "label_studio":
            return Layout("Label Studio's JSON", kind, {"annotations": path, "images": root})
    return None


def _lists_of_pairs(root: Path) -> Layout | None:
    """Lists of train and val with the paths of an image and of its mask on each line, such as SegNet's."""
    lists = [[path for name in names for path in glob_files(root, f"{name}.txt")] for names in SPLITS]
    if any(len(paths) != 1 for paths in lists):
        return None
    train, val = (paths[0] for paths in lists)
    try:
        found = all(read_pairs(path, "train", [root]) is not None for path in (train, val))
    except ArgumentError:  # the lists are of another data set, or hold other texts
        return None
    settings = {"root": root, "images": ".", "masks": ".", "train": train, "val": val}
    return Layout("lists of pairs", "folder", settings) if found else None
