"""Recognise Pascal VOC's layout, which many tools write."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hypercolumns.data.layout import SPLITS, Layout, list_folders
from hypercolumns.errors import ArgumentError
from hypercolumns.io.files import glob_files, read_lines
from hypercolumns.overrides import format_override

# The second folder has the masks of the Semantic Boundaries Dataset (SBD). The third has the masks of older scripts of
# labelme, whose folder SegmentationClass holds NumPy's files.
VOC_MASK_FOLDERS = ("SegmentationClass", "SegmentationClassAug", "SegmentationClassPNG")
VOC_ID = re.compile(r"(20\d\d_)?\d{6}")  # the id of an image of Pascal VOC itself


def voc_layout(root: Path) -> Layout | None:
    """Recognise Pascal VOC's layout, in the folder itself or in VOCdevkit, with any lists; None for another one.

    Raises:
        ArgumentError: if there are several data sets, if it is not clear which lists are train and val, or if the
            images are missing.
    """
    parents = [root, root / "VOCdevkit", root / "TrainVal" / "VOCdevkit"]
    candidates = [root, *(folder for parent in parents if parent.is_dir() for folder in list_folders(parent))]
    found = [
        folder
        for folder in candidates
        if (folder / "JPEGImages").is_dir() and any((folder / masks).is_dir() for masks in VOC_MASK_FOLDERS)
    ]
    if not found:
        _check_images(root)
        return None
    if len(found) > 1:
        names = ", ".join(str(folder) for folder in found)
        raise ArgumentError(f"root={root} holds several data sets in Pascal VOC's layout ({names}); give one of them")
    folder = found[0]
    lists = [path.stem for path in glob_files(folder / "ImageSets" / "Segmentation", "*.txt")]
    settings: dict[str, Any] = {"root": folder}
    chosen = _choose(lists)
    known = False
    if len(chosen) == 2:
        settings |= {split: name for split, name in chosen.items() if name != split}
        others = [name for name in lists if name not in chosen.values()]
        what = f"with the lists {' and '.join(chosen.values())}"
        what += f" (also there: {', '.join(others)})" if others else ""
        known = _is_voc(folder / "ImageSets" / "Segmentation" / f"{chosen['train']}.txt")
    elif not lists:
        settings |= {"train": None, "val": None}
        what = "without lists"
    elif len(lists) == 1:
        settings |= {"train": lists[0], "val": None}
        what = f"with the list {lists[0]}"
    else:
        raise ArgumentError(
            f"root={root} has Pascal VOC's layout with the lists {', '.join(lists)}; choose by data=voc "
            f"{format_override('data.root', folder)} data.train=LIST data.val=LIST"
        )
    return Layout(f"Pascal VOC's layout {what}", "voc", settings, classes_known=known)


def _check_images(root: Path) -> None:
    """Raise ArgumentError if there are masks without images, as in an export of CVAT that does not save images."""
    if any(glob_files(root / masks, "*.png") for masks in VOC_MASK_FOLDERS):
        raise ArgumentError(
            f"root={root} has the masks of Pascal VOC's layout, but not the images; copy the images to "
            f"{root / 'JPEGImages'}, or export them, too (in CVAT: Save images)"
        )


def _choose(lists: Sequence[str]) -> dict[str, str]:
    """Return the names of the lists of train and val; an empty dictionary if they are not certain."""
    if {"train", "val"} <= {*lists}:
        return {"train": "train", "val": "val"}
    named = [[name for name in lists if name.lower() in names] for names in SPLITS]
    if any(len(names) != 1 for names in named):
        return {}
    return {"train": named[0][0], "val": named[1][0]}


def _is_voc(path: Path) -> bool:
    """Whether a list holds ids of Pascal VOC itself, whose classes are known."""
    return all(VOC_ID.fullmatch(Path(line.split()[0]).stem) for line in read_lines(path, "train"))
