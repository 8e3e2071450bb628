"""Find the JSON files of a COCO data set, and the folders of their images."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from hypercolumns.errors import ArgumentError, shorten_list
from hypercolumns.io.files import glob_files

ROBOFLOW = "_annotations.coco.json"  # lies beside the images, in the folders train, valid and test
TASKS = ("instances", "panoptic")  # the beginnings of the names of JSON files in the folder `annotations`
VAL_NAMES = ("val", "valid", "validation")
ALL = "all"  # the key of a file whose images are split later


def find_annotations(root: Path, task: str) -> dict[str, Path]:
    """Find the JSON files in a folder.

    Three layouts are known: COCO's own and Datumaro's (`annotations/instances_train2017.json`), CVAT's
    (`annotations/instances_default.json`), and Roboflow's (`train/_annotations.coco.json`).

    Args:
        root: the folder.
        task: `instances` or `panoptic`: how the names of the files in `annotations` begin.

    Returns:
        The files of the splits `train` and `val`; or one file with the key `all`.

    Raises:
        ArgumentError: if `root` is no folder, if no files are found, or more than one for a split.
    """
    if not root.is_dir():
        raise ArgumentError(f"root={root} is not a folder; give the folder of the JSON files and the images")
    tagged = [(path.parent.name, path) for path in glob_files(root, f"*/{ROBOFLOW}")]
    for folder in (root / "annotations", root):
        tagged += [(split_name(path), path) for path in glob_files(folder, f"{task}_*.json")]
    if not tagged:
        single = [path for folder in (root / "annotations", root) for path in glob_files(folder, "*.json")]
        tagged = [(ALL, path) for path in single]
    splits = {
        "train": [path for tag, path in tagged if tag.lower().startswith("train")],
        "val": [path for tag, path in tagged if tag.lower().rstrip("0123456789") in VAL_NAMES],
    }
    others = [path for _, path in tagged if path not in splits["train"] + splits["val"]]
    if len(splits["train"]) == 1 and len(splits["val"]) <= 1:
        return {"train": splits["train"][0], "val": splits["val"][0]} if splits["val"] else {ALL: splits["train"][0]}
    if not splits["train"] and not splits["val"] and len(others) == 1:
        return {ALL: others[0]}
    if not tagged:
        raise ArgumentError(
            f"root={root} has no COCO files: annotations/{task}_*.json, train/{ROBOFLOW} or another .json; give "
            f"another folder, or annotations=<a JSON file> and images=<a folder>"
        )
    raise ArgumentError(
        f"root={root} has several COCO files: {shorten_list([str(path.relative_to(root)) for _, path in tagged])}; "
        f"choose by annotations= and, for val images of their own, val_annotations="
    )


def split_name(path: Path) -> str:
    """Return the part of a file's name that names its split, such as `train2017` of `instances_train2017.json`."""
    return path.stem.partition("_")[2] if path.stem.startswith(TASKS) else path.stem


def image_folders(path: Path, images: Path | None) -> list[Path]:
    """Return the folders in which the images of a COCO file may lie.

    Args:
        path: the COCO file.
        images: the folder of images that the user names; None: the folders that the known layouts have.
    """
    tag = split_name(path)
    if images is not None:
        places = [images / tag, images]
    else:
        root = path.parent.parent if path.parent.name == "annotations" else path.parent
        places = [root / tag, root / "images" / tag, root / "images", path.parent, root]
    return [place for place in places if place.is_dir()] or places[-1:]


def locate_images(names: Mapping[object, str], places: Sequence[Path]) -> dict[object, tuple[str, Path]]:
    """Find the files of images.

    A name may begin with folders that do not exist here: the first folders are left out until it names a file.

    Args:
        names: the name of each image in the COCO file, by its id.
        places: the folders in which the images may lie.

    Returns:
        The path of each image in its folder, without suffix, and its file. An image that is not found has the path that
        it would have in the first folder.
    """
    located = {}
    for id, name in names.items():
        parts = [part for part in name.replace("\\", "/").split("/") if part not in ("", ".")]
        candidates = (
            (place, parts[start:]) for start in range(len(parts)) for place in places if ".." not in parts[start:]
        )
        found = ((place, rest) for place, rest in candidates if os.path.lexists(place.joinpath(*rest)))
        place, rest = next(found, (places[0], parts))
        located[id] = Path(*rest).with_suffix("").as_posix() if rest else name, place.joinpath(*rest)
    return located
