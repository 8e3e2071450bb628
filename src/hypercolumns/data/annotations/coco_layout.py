"""Find the JSON files of a COCO data set, and the folders of their images."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from hypercolumns.data.annotations.json_file import json_kind
from hypercolumns.data.layout import SPLITS
from hypercolumns.errors import ArgumentError, DataNotFoundError, shorten_list
from hypercolumns.io.files import glob_files
from hypercolumns.overrides import format_override

ROBOFLOW = "_annotations.coco.json"  # lies beside the images, in the folders train, valid and test
TASKS = ("instances", "panoptic")  # the beginnings of the names of JSON files in the folder `annotations`
OTHER_TASKS = ("captions", "person_keypoints", "image_info", "stuff")  # of COCO's files that are not read
TRAIN, TEST = "train", "test"  # the beginnings of the names of these splits
ALL = "all"  # the key of a file whose images are split later


def find_annotations(root: Path, task: str) -> tuple[dict[str, Path], list[str]]:
    """Find the JSON files in a folder.

    Three layouts are known: COCO's own and Datumaro's (`annotations/instances_train2017.json`), CVAT's
    (`annotations/instances_default.json`), and Roboflow's (`train/_annotations.coco.json`). Upper and lower case are
    the same. If `root` and `annotations` have no COCO files, those in other folders of `root` count.

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
            f"root={root} has no COCO files: annotations/{task}_*.json, train/{ROBOFLOW}, or another .json in it or "
            f"in one of its folders; give "
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
    example = format_override("data.annotations", str(tagged[0].relative_to(root)))
    raise ArgumentError(
        f"root={root} has several COCO files: {names}; choose by data.annotations=, such as {example}, and, for val "
        f"images of their own, data.val_annotations="
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
        places = list(dict.fromkeys([*_known_folders(root, tag)[:-1], path.parent, root]))
    return [place for place in places if place.is_dir()] or places[-1:]


def other_image_folders(path: Path, root: Path) -> list[list[Path]]:
    """Return more folders in which the images may lie: first those of usual names, then all folders of the data set.

    Args:
        path: the COCO file.
        root: the folder of the data set, which may be further above the file than in the known layouts.
    """
    tag = split_name(path)
    known = [place for place in _known_folders(root, tag) if place.is_dir()]
    folders = _folders(root)
    inside = [place for folder in folders for place in (folder, _inside(folder, tag)) if place.is_dir()]
    return [places for places in (known, list(dict.fromkeys(inside))) if places]


def _known_folders(root: Path, tag: str) -> list[Path]:
    inside = _inside(root, "images")
    return list(dict.fromkeys([_inside(root, tag), _inside(inside, tag), inside, root]))


def _candidates(root: Path, task: str) -> tuple[list[Path], list[Path]]:
    """Return the JSON files whose names are known, or else all; and other COCO files, if names are known."""
    folders = _folders(root)
    near = [path for path in (_inside(root, "annotations"), root) if path.is_dir()]
    files = _json_files(near)
    tagged = [path for folder in folders for path in _files(folder) if path.name.lower() == ROBOFLOW]
    tagged += [path for path in files if _is_of_task(path, task)]
    beside = _others(files, tagged)
    if tagged:
        return tagged, beside
    if not beside:
        deeper = [path for path in _json_files(folder for folder in folders if folder not in near) if _is_coco(path)]
        of_task = [path for path in deeper if _is_of_task(path, task)]
        others = _others(deeper, of_task)
        if deeper:
            return (of_task, others) if of_task else (others or deeper, [])
    return (beside if len(files) > 1 and beside else files), []


def _is_of_task(path: Path, task: str) -> bool:
    name = path.stem.lower()
    return name == task or name.startswith(f"{task}_")


def _others(files: Iterable[Path], tagged: Sequence[Path]) -> list[Path]:
    """Return the COCO files whose names do not tell what they hold."""
    unnamed = [path for path in files if not path.stem.lower().startswith((*TASKS, *OTHER_TASKS))]
    return [path for path in unnamed if path not in tagged and _is_coco(path)]


def _is_coco(path: Path) -> bool:
    return json_kind(path) == "coco"


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


def _json_files(folders: Iterable[Path]) -> list[Path]:
    return [path for folder in folders for path in _files(folder) if path.suffix.lower() == ".json"]


def _files(folder: Path) -> Iterable[Path]:
    return [path for path in glob_files(folder, "*") if path.is_file()]
