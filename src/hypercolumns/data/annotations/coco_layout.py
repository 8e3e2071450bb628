"""Find the JSON files of a COCO data set, and the folders of their images."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from hypercolumns.data.annotations.json_file import json_kind
from hypercolumns.data.layout import SPLITS
from hypercolumns.errors import ArgumentError, DataNotFoundError, shorten_list
from hypercolumns.io.files import glob_files

ROBOFLOW = "_annotations.coco.json"  # lies beside the images, in the folders train, valid and test
TASKS = ("instances", "panoptic")  # the beginnings of the names of JSON files in the folder `annotations`
OTHER_TASKS = ("captions", "person_keypoints", "image_info", "stuff")  # of COCO's files that are not read
TRAIN, TEST = "train", "test"  # the beginnings of the names of these splits
ALL = "all"  # the key of a file whose images are split later


def find_annotations(root: Path, task: str) -> tuple[dict[str, Path], list[str]]:
    """Find the JSON files in a folder.

    Three layouts are known: COCO's own and Datumaro's (`annotations/instances_train2017.json`), CVAT's
    (`annotations/instances_default.json`), and Roboflow's (`train/_annotations.coco.json`). Upper and lower case are
    the same.

    Args:
        root: the folder.
        task: `instances` or `panoptic`: how the names of the files in `annotations` begin.

    Returns:
        The files of the splits `train` and `val`, or one file with the key `all`; and a line for the user about COCO
        files that are not used, if there are any.

    Raises:
        ArgumentError: if `root` is no folder, if no files are found, if there is more than one for a split, or if one
            may be that of val.
    """
    if not root.is_dir():
        raise ArgumentError(f"root={root} is not a folder; give the folder of the JSON files and the images")
    tagged, beside = _candidates(root, task)
    if not tagged:
        raise DataNotFoundError(
            f"root={root} has no COCO files: annotations/{task}_*.json, train/{ROBOFLOW} or another .json; give "
            f"another folder, or data.annotations=<a JSON file> and data.images=<a folder>"
        )
    train = [path for path in tagged if split_name(path).lower().startswith(TRAIN)]
    val = [path for path in tagged if _is_val(split_name(path))]
    others = [path for path in [*tagged, *beside] if path not in train + val]
    unknown = [path for path in others if not split_name(path).lower().startswith(TEST)]
    if len(train) == 1 and (len(val) == 1 or not val + unknown):
        return {"train": train[0], "val": val[0]} if val else {ALL: train[0]}, _unused(others, root)
    if len(unknown or others) == 1 and not train + val:
        chosen = (unknown or others)[0]
        return {ALL: chosen}, _unused([path for path in others if path != chosen], root)
    names = shorten_list([str(path.relative_to(root)) for path in [*tagged, *beside]])
    raise ArgumentError(
        f"root={root} has several COCO files: {names}; choose by data.annotations= and, for val images of their own, "
        f"data.val_annotations="
    )


def split_name(path: Path) -> str:
    """Return the name of a file's split, such as `train2017` of `instances_train2017.json`.

    The split of one of Roboflow's files is the name of its folder.
    """
    if path.name.lower() == ROBOFLOW:
        return path.parent.name
    return path.stem.partition("_")[2] if path.stem.lower().startswith(TASKS) else path.stem


def image_folders(path: Path, images: Path | None) -> list[Path]:
    """Return the folders in which the images of a COCO file may lie.

    Args:
        path: the COCO file.
        images: the folder of images that the user names; None: the folders that the known layouts have.
    """
    tag = split_name(path)
    if images is not None:
        places = [_inside(images, tag), images]
    elif path.name.lower() == ROBOFLOW:
        places = [_inside(path.parent, "images"), path.parent]
    else:
        root = path.parent.parent if path.parent.name.lower() == "annotations" else path.parent
        inside = _inside(root, "images")
        places = [_inside(root, tag), _inside(inside, tag), inside, path.parent, root]
    return [place for place in dict.fromkeys(places) if place.is_dir()] or places[-1:]


def _candidates(root: Path, task: str) -> tuple[list[Path], list[Path]]:
    """Return the JSON files whose names are known, or else all; and other COCO files, if names are known."""
    places = [path for path in (_inside(root, "annotations"), root) if path.is_dir()]
    files = [path for place in places for path in _files(place) if path.suffix.lower() == ".json"]
    tagged = [path for folder in _folders(root) for path in _files(folder) if path.name.lower() == ROBOFLOW]
    tagged += [path for path in files if path.stem.lower().startswith(f"{task}_")]
    beside = [
        path
        for path in files
        if path not in tagged and not path.stem.lower().startswith((*TASKS, *OTHER_TASKS)) and json_kind(path) == "coco"
    ]
    if tagged:
        return tagged, beside
    return (beside if len(files) > 1 and beside else files), []


def _is_val(tag: str) -> bool:
    _, val_names = SPLITS
    return tag.lower().rstrip("0123456789_-") in val_names


def _unused(paths: Sequence[Path], root: Path) -> list[str]:
    """Return a line for the user about COCO files that are not used, if there are any."""
    names = shorten_list([str(path.relative_to(root)) for path in paths])
    return [f"COCO files that are not used: {names}"] if paths else []


def _inside(folder: Path, name: str) -> Path:
    """Return the folder of a name inside another one, also if its name differs in upper and lower case."""
    exact = folder / name
    if exact.is_dir() or not folder.is_dir():
        return exact
    return next((path for path in _folders(folder) if path.name.lower() == name.lower()), exact)


def _folders(folder: Path) -> Iterable[Path]:
    return sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))


def _files(folder: Path) -> Iterable[Path]:
    return [path for path in glob_files(folder, "*") if path.is_file()]
