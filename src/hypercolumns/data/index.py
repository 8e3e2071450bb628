"""The index of a data set: which images, masks and classes it has."""

import hashlib
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath

from torch import Tensor

from hypercolumns.errors import (
    HypercolumnsError,
    InvalidFileError,
    UnreadableError,
    check_folder_name,
    shorten_list,
)
from hypercolumns.io.images import read_pair
from hypercolumns.labels import Palette


@dataclass(frozen=True)
class ImageMaskPair:
    """An image and its mask."""

    id: str
    image: Path
    mask: Path


@dataclass(frozen=True)
class DatasetIndex:
    """Images with masks, in the splits `train` and `val`.

    Attributes:
        name: of the folder for its runs.
        classes: their names, in the order of the indices in the masks.
        palette: their colours.
        splits: the pairs of each split, in order.
    """

    name: str
    classes: tuple[str, ...]
    palette: Palette
    splits: Mapping[str, tuple[ImageMaskPair, ...]]

    def fingerprint(self) -> dict[str, object]:
        """What identifies the set, wherever it lies: classes, colours, a hash of all ids and files of each split."""
        classes = {"classes": list(self.classes), "palette": [list(colour) for colour in self.palette]}
        return classes | {split: _hash(pairs) for split, pairs in self.splits.items()}


def make_index(
    name: str, classes: Sequence[str], palette: Palette, splits: Mapping[str, Sequence[ImageMaskPair]]
) -> DatasetIndex:
    """Make an index; its lists are checked, but not its files.

    Raises HypercolumnsError for an empty split, a doubled id, or one that leads out of the folder or is not UTF-8.
    """
    check_folder_name("name", name)
    for split, pairs in splits.items():
        if not pairs:
            raise HypercolumnsError(f"data {name}: the {split} split has no images; it needs one at least")
        counts = Counter(pair.id for pair in pairs)
        doubled = sorted(id for id, count in counts.items() if count > 1)
        if doubled:
            raise HypercolumnsError(
                f"data {name}: the {split} split lists {shorten_list(doubled)} twice; list each image once"
            )
        outside = [id for id in counts if PurePath(id).is_absolute() or ".." in PurePath(id).parts]
        if outside:
            raise HypercolumnsError(
                f"data {name}: the {split} split lists {shorten_list(outside)}, out of its folder; names must lie in "
                f"that, without a slash at their start and without .."
            )
        crooked = [id for id in counts if PurePath(id).as_posix() != id]
        if crooked:
            raise HypercolumnsError(
                f"data {name}: the {split} split lists {shorten_list(crooked)}; write "
                f"{PurePath(crooked[0]).as_posix()} and so on, for an image must have one name"
            )
        foreign = [id for id in counts if not _is_utf8(id)]
        if foreign:
            raise HypercolumnsError(
                f"data {name}: names of the {split} split are not UTF-8 ({shorten_list(foreign)}); rename the files"
            )
    return DatasetIndex(name, tuple(classes), palette, {split: tuple(pairs) for split, pairs in splits.items()})


def check_present(images: DatasetIndex) -> None:
    """Raise HypercolumnsError naming the files that are missing."""
    for split, pairs in images.splits.items():
        missing = [str(path) for pair in pairs for path in (pair.image, pair.mask) if not os.path.isfile(path)]
        if missing:
            raise HypercolumnsError(
                f"data {images.name}: {len(missing)} files of the {split} split are missing: {shorten_list(missing)}; "
                f"add them or take their images off the list"
            )


def read_example(pair: ImageMaskPair, palette: Palette, classes: int) -> tuple[Tensor, Tensor]:
    """Read an image (3, H, W) and its mask (H, W), see `read_pair`.

    Raises InvalidFileError if a file can't be used, UnreadableError if the system does not let it be read.
    """
    try:
        return read_pair(pair.image, pair.mask, palette, classes)
    except UnreadableError:  # the file may be sound
        raise
    except HypercolumnsError as error:
        raise InvalidFileError(str(error)) from error


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _hash(pairs: Sequence[ImageMaskPair]) -> str:
    digest = hashlib.sha256()
    for pair in pairs:
        digest.update(pair.id.encode())
        for path in (pair.image, pair.mask):
            with path.open("rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()[:16]
