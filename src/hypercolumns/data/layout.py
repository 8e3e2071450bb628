"""A layout of files in a folder, and the looking at folders that recognises it."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hypercolumns.io.files import is_clutter
from hypercolumns.overrides import format_override

# Names of the folders of each split.
SPLITS = (("train", "training", "tr", "trainval"), ("val", "valid", "validation", "dev"))
TEST = ("test", "testing", "predict", "inference")  # names of folders whose images are neither trained on nor scored
MAX_LOOKED_AT = 2000  # files in a folder that are looked at to tell whether it holds images


@dataclass(frozen=True)
class Layout:
    """A layout that was recognised.

    Attributes:
        what: a description for the user.
        kind: the data set that reads it, such as `folder`; the value of the setting `data`.
        settings: the settings of this data set, by name.
        classes_known: whether the data set knows its classes, without a file that lists them.
        whole: whether all images and masks that lie beside those of the settings should be among them.
    """

    what: str
    kind: str
    settings: dict[str, Any] = field(default_factory=dict)
    classes_known: bool = False
    whole: bool = False

    def overrides(self) -> str:
        """Return the settings as they are written on the command line."""
        words = [format_override(f"data.{name}", value) for name, value in self.settings.items()]
        return " ".join([f"data={self.kind}", *words])


def has_word(folder: str, words: Sequence[str]) -> bool:
    """Whether the name of a folder contains one of the words, such as `uavid_train` the word `train`."""
    return bool({*_words(folder)} & {*words})


def splits_of(folders: Sequence[str]) -> set[str]:
    """Return which of train, val and test the names of folders begin a word with, such as `trainannot` with train."""
    words = [word for folder in folders for word in _words(folder)]
    of_split = {"train": SPLITS[0], "val": SPLITS[1], "test": TEST}
    return {split for split, names in of_split.items() for word in words if word.startswith(split) or word in names}


def _words(folder: str) -> list[str]:
    return re.split("[^a-z]+", folder.lower())


def list_folders(folder: Path) -> list[Path]:
    """Return the folders in a folder, without clutter, sorted."""
    return sorted(path for path in folder.iterdir() if path.is_dir() and not is_clutter(path.name))


def list_files(folder: Path) -> list[Path]:
    """Return the files in a folder, without clutter, sorted: a limited number."""
    found = [path for path in folder.iterdir() if path.is_file() and not is_clutter(path.name)]
    return sorted(found)[:MAX_LOOKED_AT]


def folder_named(folder: Path, names: Sequence[str]) -> Path | None:
    """Return the folder inside `folder` that has the first of these names, in any case; None if there is none."""
    by_name = {path.name.lower(): path for path in list_folders(folder)}
    return next((by_name[name] for name in names if name in by_name), None)
