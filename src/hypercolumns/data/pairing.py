"""Find the image files and mask files of a data set, and the mask of each image."""

import functools
import itertools
import os
from collections.abc import Sequence
from pathlib import Path

import torch

from hypercolumns.data.class_files import read_ids
from hypercolumns.data.index import ImageMaskPair
from hypercolumns.errors import ArgumentError, check_fraction
from hypercolumns.io.files import walk_files
from hypercolumns.io.images import SUFFIXES
from hypercolumns.io.mask_source import has_mask
from hypercolumns.runtime import randomness

ID = "{id}"
ANY_SUFFIX = ".*"
MASK_SUFFIXES = (".png", ".tif", ".tiff", ".bmp")


def check_name_pattern(name: str, pattern: object) -> None:
    """Check a pattern of file names, such as `{id}_mask.png` or `{id}.*`.

    Raises:
        ArgumentError: if the name of the file in the pattern does not contain `{id}` once, or has no suffix.
    """
    folders, _, file = str(pattern).rpartition("/")
    if not isinstance(pattern, str) or file.count(ID) != 1 or ID in folders or "." not in file or pattern[:1] == "/":
        raise ArgumentError(
            f"{name}={pattern} must be the name of a file with {ID} in place of the image's name, such as "
            f"{ID}_mask.png, or {ID}_mask.* for any suffix; folders may be named before it, such as labels/{ID}.png"
        )


def image_files(folder: Path, pattern: str) -> dict[str, Path]:
    """Return the image files in a folder and its subfolders whose names fit a pattern, by their ids.

    The id of an image is its path below the folder, without suffix and without the parts that the pattern adds. Small
    and capital letters of suffixes are equal.

    Raises:
        ArgumentError: if two files have the same id.
    """
    inside, _, file = pattern.rpartition("/")
    before, after = file.split(ID)
    end, _, suffix = after.rpartition(".")
    suffixes = SUFFIXES if suffix == "*" else (f".{suffix.lower()}",)
    found: dict[str, Path] = {}
    for path in sorted(walk_files(folder)):
        name = path.stem
        if path.suffix.lower() not in suffixes or len(name) <= len(before + end):
            continue
        if not (name.startswith(before) and name.endswith(end)):
            continue
        parents = path.parent.relative_to(folder)
        if inside and not f"/{parents.as_posix()}".endswith(f"/{inside}"):
            continue
        above = Path(*parents.parts[: len(parents.parts) - len(Path(inside).parts)])
        id = (above / name[len(before) : len(name) - len(end)]).as_posix()
        if id in found:
            raise ArgumentError(
                f"images: {path} and {found[id]} would have the same mask; rename one of them, or "
                f"say by image_name and mask_name how images and masks are named"
            )
        found[id] = path
    return found


def find_mask(folders: Sequence[Path], id: str, pattern: str = ID + ANY_SUFFIX) -> Path:
    """Find the mask file of an image.

    Args:
        folders: the folders of masks, in the order in which they are searched.
        id: the id of the image.
        pattern: the name of the mask file, with `{id}` in place of the name of the image.

    Returns:
        The first file that exists, with its suffix in small or capital letters. If there is none, the path that it
        would have in the first folder, with the suffix `.png`.
    """
    parent, _, name = id.rpartition("/")
    file = pattern.replace(ID, name)  # may begin with folders
    stem, _, suffix = file.rpartition(".")
    suffixes = MASK_SUFFIXES if suffix == "*" else (f".{suffix}",)
    return _first_file([folder / parent for folder in folders], stem, suffixes)


def find_image(folder: Path, id: str) -> Path:
    """Return the image file of an id in a folder, with any suffix; the path with `.jpg` if there is none."""
    return _first_file([folder], id, SUFFIXES)


def _first_file(folders: Sequence[Path], stem: str, suffixes: tuple[str, ...]) -> Path:
    """Return the first file of a name with one of these suffixes that exists; if there is none, the first path.

    No path is made after the first file: most data sets have the usual suffix, and paths take longer than the search.
    """
    names = [f"{stem}{suffix}" for suffix in suffix_spellings(suffixes)]
    paths = (folder / name for folder in folders for name in names)
    return next((path for path in paths if os.path.lexists(path)), folders[0] / names[0])


@functools.cache
def suffix_spellings(suffixes: tuple[str, ...]) -> tuple[str, ...]:
    """Return suffixes as they are, then in small letters, in capitals, and as in `.Png`; cameras and Windows differ."""
    spelled = [suffixes, [text.lower() for text in suffixes], [text.upper() for text in suffixes]]
    return tuple(dict.fromkeys(itertools.chain(*spelled, (f".{text[1:].capitalize()}" for text in suffixes))))


def read_pairs(file: Path, name: str, places: Sequence[Path]) -> list[ImageMaskPair] | None:
    """Read a list of pairs, which has the paths of an image and of its mask on each line.

    A path may begin with folders that do not exist here, such as `/SegNet/CamVid/train/1.png`: the first folders are
    left out until the path names a file below one of `places`.

    Args:
        file: the list.
        name: the setting that chose the list, such as `train`, for messages.
        places: the folders that paths may be relative to.

    Returns:
        The pairs, whose ids are the paths of the images as found, without suffix. None if the file is not a list of
        pairs.

    Raises:
        ArgumentError: if the file can't be read, or names a file that does not exist.
    """
    lines = [line.split() for line in read_ids(file, name)]
    if any(len(line) != 2 for line in lines) or not all("." in path for path in lines[0]):
        return None
    source = f"{name}={file}"
    images, masks = (_resolve([line[column] for line in lines], places, source) for column in (0, 1))
    if len({path for path, _ in masks}) < len(masks):
        raise ArgumentError(f"{source} names one mask for two images; give each image a mask of its own")
    return [ImageMaskPair(id, image, mask) for (image, id), (mask, _) in zip(images, masks, strict=True)]


def _resolve(paths: Sequence[str], places: Sequence[Path], source: str) -> list[tuple[Path, str]]:
    """Return the files that a list names, and their ids. The same number of folders is left out of all paths.

    Raises:
        ArgumentError: if a file does not exist.
    """
    parts = [[part for part in path.split("/") if part] for path in paths]
    inside = all(".." not in path for path in parts)
    for left_out in range(min(map(len, parts)) if inside else 0):
        for place in places:
            found = [place.joinpath(*path[left_out:]) for path in parts]
            if all(path.is_file() for path in found):
                ids = [Path(*path[left_out:]).with_suffix("").as_posix() for path in parts]
                return list(zip(found, ids, strict=True))
    nearest = (place.joinpath(*path) for path in parts for place in places[:1])
    missing = next((path for path in nearest if not path.is_file()), None)
    raise ArgumentError(
        f"{source} lists {paths[0]} and others, which are not all files below {' or '.join(map(str, places))}, such as "
        f"{missing}; correct the list, or add the files"
    )


def draw_splits(pairs: Sequence[ImageMaskPair], val_fraction: float, seed: int) -> dict[str, list[ImageMaskPair]]:
    """Split images at random into train and val. The order of the images is kept.

    Only images with a mask are drawn for val, so that both splits have some while others are not labelled yet.

    Args:
        pairs: the images and masks.
        val_fraction: the fraction of the images, in (0, 1), that val gets.
        seed: the seed of the draw.

    Returns:
        The images of `train` and of `val`.

    Raises:
        ArgumentError: if `val_fraction` is outside (0, 1).
    """
    check_fraction("val_fraction", val_fraction)
    if not 0 < val_fraction < 1:
        raise ArgumentError(f"val_fraction={val_fraction} must be above 0 and below 1")
    with_mask = [pair for pair in pairs if has_mask(pair.mask)]
    candidates = with_mask if len(with_mask) > 1 else pairs
    order = torch.randperm(len(candidates), generator=randomness.generator(seed, "split")).tolist()
    count = min(max(round(val_fraction * len(candidates)), 1), len(candidates) - 1)
    val = {candidates[index].id for index in order[:count]}
    return {
        "train": [pair for pair in pairs if pair.id not in val],
        "val": [pair for pair in pairs if pair.id in val],
    }
