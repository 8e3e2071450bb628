"""Recognise the layout of a folder of images and masks, as tools and data sets lay their files out."""

import re
from collections.abc import Iterable
from dataclasses import replace
from itertools import takewhile
from pathlib import Path
from typing import Any

from hypercolumns.data.annotations.json_file import json_kind
from hypercolumns.data.layout import MAX_LOOKED_AT, SPLITS, Layout, folder_named, list_files, list_folders
from hypercolumns.data.named_layouts import coco_layout, named_set, sbd_layout
from hypercolumns.data.other_formats import misleading_format, other_format
from hypercolumns.data.pair_rules import PairRule, Side, find_rules
from hypercolumns.data.pairing import ID, MASK_SUFFIXES, read_pairs
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


def recognise(root: Path) -> Layout:
    """Recognise the layout of the files in a folder.

    Args:
        root: the folder.

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
    for look in (voc_layout, sbd_layout, coco_layout, named_set, _lists_of_pairs, _paired, _json):
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
        f"1_mask.png), and JSON files of COCO, labelme and Label Studio; say where the files are by data=folder "
        f"data.images=FOLDER data.masks=FOLDER"
    )


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


def _paired(root: Path) -> Layout | None:
    """Images and masks whose paths differ by a rule.

    Raises:
        ArgumentError: if the images have several kinds of masks, if the masks are of a form that is not read, or if
            no settings say the rule.
    """
    rules, others = find_rules(root)
    if not rules:
        return None
    layouts = [_of_rule(root, rule) for rule in rules]
    if len(layouts) > 1:
        choices = "; or ".join(layout.overrides() for layout in layouts)
        raise ArgumentError(
            f"root={root} has several files that could be the images or the masks; choose by {choices}. If each mask "
            f"holds one class, write them to one file for each image"
        )
    left = ", ".join(str(rule.pairs[0][0].parent.relative_to(root)) for rule in others)
    return replace(layouts[0], what=f"{layouts[0].what} (not read: {left})") if left else layouts[0]


def _of_rule(root: Path, rule: PairRule) -> Layout:
    image, mask = rule.pairs[0]
    if mask.suffix.lower() not in MASK_SUFFIXES:
        raise ArgumentError(
            f"root={root}: {mask} seems to be the mask of {image}, but masks must be PNG, TIFF or BMP files; save them "
            f"as PNG, and if they were JPEG files, set each pixel to the nearest label first"
        )
    at_top = len({above for above, _ in rule.places}) == 1
    varying = [below if at_top else above for above, below in rule.places]
    if not at_top and any(below for _, below in rule.places):
        raise ArgumentError(
            f"root={root} has images and masks such as {image} and {mask}, but no settings say where all are; list the "
            f"paths of an image and of its mask on each line of two files, and give data=folder data.root={root} "
            f"data.train=FILE data.val=FILE"
        )
    folders = {parts[0] for parts in varying if parts}
    splits = _splits(folders)
    left = sorted(folders - {*splits.values()}) if splits else []
    if splits and len(splits) < 2:  # other folders, such as test, are no train images
        varying = [parts for parts in varying if parts[:1] == tuple(splits.values())]
        splits = {}
    shared = Path(*(parts[0] for parts in takewhile(_all_equal, zip(*varying, strict=False))))
    settings: dict[str, Any]
    if at_top or len(varying) == 1:
        base = root.joinpath(*rule.places[0][0]) if at_top else root / shared
        inside = shared if at_top else Path()
        settings = {
            "images": base.joinpath(*rule.image.folders) / inside,
            "masks": base.joinpath(*rule.mask.folders) / inside,
        }
        names = {"image_name": rule.image._replace(folders=()), "mask_name": rule.mask._replace(folders=())}
    else:
        settings = {"root": root / shared, "images": ".", "masks": "."}
        names = {"image_name": rule.image, "mask_name": rule.mask}
    beside = rule.image.folders == rule.mask.folders
    if beside and not rule.image.suffix and len({path.suffix for path, _ in rule.pairs}) == 1:
        names["image_name"] = rule.image._replace(suffix=image.suffix.lower())
    patterns = {name: _pattern(side) for name, side in names.items()}
    settings |= {name: pattern for name, pattern in patterns.items() if pattern != f"{ID}.*"} | splits
    if beside:
        what = "masks beside the images"
    else:
        what = f"the folders {Path(*rule.image.folders)} and {Path(*rule.mask.folders)}"
    what += "" if at_top else ", in each of several folders"
    return Layout(f"{what} (not read: {', '.join(left)})" if left else what, "folder", settings)


def _all_equal(names: tuple[str, ...]) -> bool:
    return len({*names}) == 1


def _pattern(side: Side) -> str:
    return "/".join([*side.folders, f"{side.before}{ID}{side.after}{side.suffix or '.*'}"])


def _splits(folders: set[str]) -> dict[str, str]:
    """Return the folders of the splits, if their names tell; {} if they do not."""
    found = {}
    for split, names in zip(("train", "val"), SPLITS, strict=True):
        of_split = [folder for folder in folders if {*re.split("[^a-z]+", folder.lower())} & {*names}]
        if len(of_split) == 1:
            found[split] = of_split[0]
    return found
