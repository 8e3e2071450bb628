"""A set of images with masks: which files, which classes."""

import hashlib
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePath

import torch
from torch import Tensor

from hypercolumns.errors import HypercolumnsError, UnreadableError, check_folder_name, check_int
from hypercolumns.io.files import expand_path, read_lines
from hypercolumns.io.images import read_pair
from hypercolumns.labels import IGNORE_INDEX, Palette, is_class_name, voc_palette
from hypercolumns.runtime import randomness

REMEDY = "stage=validate lists all files that are not right, data.on_bad=skip leaves their images out"


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
    """An ImageSet, its lists checked, but not its files.

    Raises HypercolumnsError for an empty split, a doubled id, or one that leads out of the folder or is not UTF-8.
    """
    check_folder_name("data.name", name)
    for split, pairs in splits.items():
        if not pairs:
            raise HypercolumnsError(f"data {name}: the {split} split has no images; it needs one at least")
        counts = Counter(pair.id for pair in pairs)
        doubled = sorted(id for id, count in counts.items() if count > 1)
        if doubled:
            raise HypercolumnsError(
                f"data {name}: the {split} split lists {_some(doubled)} twice; list each image once"
            )
        outside = [id for id in counts if PurePath(id).is_absolute() or ".." in PurePath(id).parts]
        if outside:
            raise HypercolumnsError(
                f"data {name}: the {split} split lists {_some(outside)}, out of its folder; names must lie in that, "
                f"without a slash at their start and without .."
            )
        crooked = [id for id in counts if PurePath(id).as_posix() != id]
        if crooked:
            raise HypercolumnsError(
                f"data {name}: the {split} split lists {_some(crooked)}; write {PurePath(crooked[0]).as_posix()} and "
                f"so on, for an image must have one name"
            )
        foreign = [id for id in counts if not _is_utf8(id)]
        if foreign:
            raise HypercolumnsError(
                f"data {name}: names of the {split} split are not UTF-8 ({_some(foreign)}); rename the files"
            )
    return DatasetIndex(name, tuple(classes), palette, {split: tuple(pairs) for split, pairs in splits.items()})


def check_present(images: DatasetIndex) -> None:
    """Raise HypercolumnsError naming the files that are missing."""
    for split, pairs in images.splits.items():
        missing = [str(path) for pair in pairs for path in (pair.image, pair.mask) if not os.path.isfile(path)]
        if missing:
            raise HypercolumnsError(
                f"data {images.name}: {len(missing)} files of the {split} split are missing: {_some(missing)}; "
                f"add them or take their images off the list"
            )


def read_example(pair: ImageMaskPair, palette: Palette, classes: int) -> tuple[Tensor, Tensor]:
    """An image (3, H, W) and its mask (H, W), see `read_pair`; its HypercolumnsError says what can be done."""
    try:
        return read_pair(pair.image, pair.mask, palette, classes)
    except UnreadableError:  # which skips nothing
        raise
    except HypercolumnsError as error:
        raise HypercolumnsError(f"{error} ({REMEDY})") from error


def shared_ids(images: DatasetIndex) -> list[str]:
    """The ids that more than one split has."""
    counts = Counter(pair.id for pairs in images.splits.values() for pair in pairs)
    return [id for id, count in counts.items() if count > 1]


def train_subset(images: DatasetIndex, count: int | None, seed: int) -> DatasetIndex:
    """Only `count` images of the train split, in its order, that `seed` chooses; None for all.

    What a seed chooses grows with `count`: fewer images are some of more. Raises HypercolumnsError if there are fewer.
    """
    pairs = images.splits["train"]
    if count is None:
        return images
    if not isinstance(count, int) or isinstance(count, bool) or not 1 <= count <= len(pairs):
        raise HypercolumnsError(
            f"data.limit_images={count} must be a whole number from 1 to {len(pairs)}, which is how many images the "
            f"train split of {images.name} has, or null for all"
        )
    check_int("data.limit_seed", seed, minimum=0)
    chosen = torch.randperm(len(pairs), generator=randomness.generator(seed, "limit"))[:count].sort().values
    return replace(images, splits={**images.splits, "train": tuple(pairs[index] for index in chosen.tolist())})


def read_ids(path: Path, setting: str) -> list[str]:
    """The images that a split's list names, one a line; raises HypercolumnsError if it names none."""
    ids = read_lines(path, setting)
    if not ids:
        raise HypercolumnsError(f"{setting}: {path} lists no images; write one a line, its name without suffix")
    return ids


def read_classes(path: str | Path) -> list[str]:
    """Class names from a file, one a line, in the order of their indices."""
    names = read_lines(expand_path("data.classes", path), "data.classes")
    if not 0 < len(names) <= IGNORE_INDEX:
        raise HypercolumnsError(
            f"data.classes={path} holds {len(names)} names; expected 1 to {IGNORE_INDEX}, one a line"
        )
    unfit = [name for name in names if not is_class_name(name)]
    if unfit:
        raise HypercolumnsError(f"data.classes={path} holds {_some(unfit)}, with control characters; take them out")
    doubled = sorted({name for name in names if names.count(name) > 1})
    if doubled:
        raise HypercolumnsError(f"data.classes={path} holds {_some(doubled)} twice; give each class its own name")
    return names


def read_palette(path: str | Path | None, classes: int) -> Palette:
    """Colours from a file, `R G B` one a line, in the order of the classes; Pascal VOC's if there is no file."""
    if path is None:
        return voc_palette(classes)
    lines = read_lines(expand_path("data.palette", path), "data.palette")
    colours = [tuple(int(part) if part.isdecimal() else -1 for part in line.split()) for line in lines]
    for line, colour in zip(lines, colours, strict=True):
        if len(colour) != 3 or not all(0 <= part <= 255 for part in colour):
            raise HypercolumnsError(f"data.palette={path}: {line} is no colour; expected R G B, each from 0 to 255")
    if len(colours) != classes or len(set(colours)) != classes:
        raise HypercolumnsError(
            f"data.palette={path} holds {len(set(colours))} different colours; "
            f"expected one for each of {classes} classes"
        )
    return tuple((red, green, blue) for red, green, blue in colours)


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _some(items: Sequence[str]) -> str:
    more = f" and {len(items) - 10} more" if len(items) > 10 else ""
    return ", ".join(items[:10]) + more


def _hash(pairs: Sequence[ImageMaskPair]) -> str:
    digest = hashlib.sha256()
    for pair in pairs:
        digest.update(pair.id.encode())
        for path in (pair.image, pair.mask):
            with path.open("rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()[:16]
