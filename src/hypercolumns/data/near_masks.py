"""Find the file that was probably meant, where an image has no mask: one of another name, spelling or format."""

import os
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from hypercolumns.data.index import ImageMaskPair
from hypercolumns.data.other_formats import misleading_format, other_format
from hypercolumns.data.pairing import ID, MASK_SUFFIXES
from hypercolumns.errors import ArgumentError, DataNotFoundError
from hypercolumns.io.files import is_clutter, walk_files
from hypercolumns.io.images import SUFFIXES
from hypercolumns.io.mask_source import has_mask
from hypercolumns.overrides import format_override

CONVERT = (
    "masks must be PNG, TIFF or BMP files: save it as PNG, and if it was a JPEG file, set each pixel to the nearest "
    "label first"
)
PICTURE_SUFFIXES = (*SUFFIXES, ".gif")  # some of them are not read as masks
MAX_MISSING = 20  # missing masks that are looked for


class NearMask(NamedTuple):
    """A file that seems to be the mask that is missing.

    Attributes:
        path: the file.
        image: the image.
        expected: the path that the mask should have.
        pattern: the setting `mask_name` by which the file would be found; None if no setting finds it.
    """

    path: Path
    image: Path
    expected: Path
    pattern: str | None

    def remedy(self, setting: Callable[[str], str] | None) -> str:
        """Say what the file is and what to do.

        Args:
            setting: says how a command finds masks by a `mask_name`; None if it has no setting for this.
        """
        readable = self.path.suffix.lower() in MASK_SUFFIXES
        steps = [] if readable else [CONVERT]
        name = f"{self.expected.stem}{self.path.suffix.lower() if readable else '.png'}"
        differs = name != self.path.name if readable else self.path.stem != self.expected.stem
        rename = [f"rename it to {name}"] if differs else []
        by_setting = [f"{setting(self.pattern)} if all masks are named so"] if self.pattern and setting else []
        if by_setting or rename:
            steps.append(", or ".join([*by_setting, *rename]))
        respelled = self.path.stem.casefold() == self.expected.stem.casefold() and self.path.stem != self.expected.stem
        which = ", whose name differs in small and capital letters" if respelled else ""
        return f"{self.path} seems to be this mask{which}; {'; then '.join(steps)}"

    def describe(self, setting: Callable[[str], str] | None) -> str:
        """Say which mask is missing, and what to do with the file. `setting` is as in `remedy`."""
        whose = f" for {self.image}" if self.image != self.expected else ""
        return f"{self.expected}{whose}: {self.remedy(setting)}"


def by_mask_name(current: str | None) -> Callable[[str], str] | None:
    """Return a function that says how masks are found by another `mask_name`.

    `current` is the present value of this setting. If it is None, there is no such setting, and None is returned.
    """
    if current is None:
        return None
    folders = current.rpartition("/")[0]
    return lambda pattern: f"set {format_override('data.mask_name', f'{folders}/{pattern}' if folders else pattern)}"


def nearest_mask(missing: Iterable[ImageMaskPair], used: Collection[Path]) -> NearMask | None:
    """Find a file that seems to be one of the masks that are missing.

    Args:
        missing: images whose mask files do not exist. Only the masks of the first 20 are looked for.
        used: files that are known to be something else: images, and the masks of other images.

    Returns:
        The file of the first image that has one; None if none has.
    """
    others = set(map(os.path.abspath, used))
    listed: dict[Path, list[Path]] = {}
    for pair in islice(missing, MAX_MISSING):
        if not isinstance(pair.mask, Path):
            continue
        folder = pair.mask.parent
        if folder not in listed:
            files = sorted(folder.iterdir()) if folder.is_dir() else []
            listed[folder] = [
                path
                for path in files
                if path.suffix.lower() in PICTURE_SUFFIXES
                and not is_clutter(path.name)
                and os.path.abspath(path) not in others
            ]
        near = _near(pair, pair.mask, listed[folder])
        if near is not None:
            return near
    return None


def nearest_mask_in(splits: Mapping[str, Sequence[ImageMaskPair]]) -> NearMask | None:
    """Find a file that seems to be a mask that is missing in the splits of a data set, see `nearest_mask`."""
    pairs = [pair for of_split in splits.values() for pair in of_split]
    missing = [pair for pair in pairs if not has_mask(pair.mask)]
    of_others = {path for pair in pairs if has_mask(pair.mask) for path in _files(pair)}
    return nearest_mask(missing, of_others | {pair.image for pair in missing})


def _files(pair: ImageMaskPair) -> list[Path]:
    """Return the files of an image and its mask; none if it is its own mask, as a mask beside the images may seem."""
    files = [pair.image, pair.mask] if pair.image != pair.mask else []
    return [path for path in files if isinstance(path, Path)]


def check_some_masks(splits: Mapping[str, Sequence[ImageMaskPair]], folder: Path, mask_name: str) -> None:
    """Check that one of the images has a mask.

    Args:
        splits: the images and masks of each split.
        folder: the folder of masks.
        mask_name: the setting by which the masks were looked for.

    Raises:
        ArgumentError: if not. The message names a file that seems to be a mask, or suggests a `mask_name` if file names
            in `folder` contain those of images, or names the form of the annotations in `folder`.
    """
    pairs = [pair for of_split in splits.values() for pair in of_split]
    if pairs and not any(has_mask(pair.mask) for pair in pairs):
        near = nearest_mask_in(splits)
        if near is not None:
            raise DataNotFoundError(
                f"masks={folder} has a mask for none of the {len(pairs)} images; it lacks "
                f"{near.describe(by_mask_name(mask_name))}"
            )
        pattern = suggest_mask_name(folder, {Path(pair.id).name for pair in pairs})
        hint = f", such as {format_override('data.mask_name', pattern)}" if pattern else ""
        other = None if pattern else misleading_format(folder) or other_format(folder)
        if other is not None:
            raise ArgumentError(f"masks={folder} has a mask for none of the {len(pairs)} images: {other}")
        raise DataNotFoundError(
            f"masks={folder} has a mask for none of the {len(pairs)} images; the mask of {pairs[0].image} would be "
            f"{pairs[0].mask}: give another folder, or say how masks are named by mask_name{hint}"
        )


def suggest_mask_name(folder: Path, names: Collection[str]) -> str | None:
    """Return a pattern that fits a mask file of an image; None if no file in a folder contains an image's name.

    `names` are the names of the images, without suffix.
    """
    for path in walk_files(folder):
        if path.suffix.lower() in MASK_SUFFIXES:
            for name in sorted(names, key=len, reverse=True):
                if name in path.stem and path.stem != name:
                    return path.name.replace(name, ID, 1)
    return None


def _near(pair: ImageMaskPair, expected: Path, files: Sequence[Path]) -> NearMask | None:
    """Return the file that has the stem of a mask, in any spelling, or else one whose name contains the image's."""
    name = Path(pair.id).name
    same = [path for path in files if path.stem.casefold() == expected.stem.casefold()]
    if same:
        path = min(same, key=lambda path: (path.stem != expected.stem, path.suffix.lower() not in MASK_SUFFIXES))
    else:
        containing = [path for path in files if _span(name, path.name) is not None]
        if not containing:
            return None
        path = min(containing, key=lambda path: (path.suffix.lower() not in MASK_SUFFIXES, len(path.name)))
    span = _span(name, path.name)
    pattern = None
    readable = path.suffix.lower() in MASK_SUFFIXES
    if span is not None and path.name[slice(*span)] == name and (readable or path.stem != expected.stem):
        suffix = path.suffix if readable else ".png"
        pattern = f"{path.stem[: span[0]]}{ID}{path.stem[span[1] :]}{suffix}"
    return NearMask(path, pair.image, expected, pattern)


def _span(name: str, text: str) -> tuple[int, int] | None:
    """Return where a name occurs in a file name, in any spelling; None if it does not occur, or in a longer word.

    The image `1` is not that of `10_mask.png`, nor the image `car` that of `scar.png`.
    """
    for match in re.finditer(re.escape(name), text, re.IGNORECASE):
        start, end = match.span()
        before, after = text[start - 1 : start], text[end : end + 1]
        if end <= len(Path(text).stem) and not _one_word(before, name[0]) and not _one_word(name[-1], after):
            return start, end
    return None


def _one_word(character: str, following: str) -> bool:
    return (character.isdigit() and following.isdigit()) or (character.isalpha() and following.isalpha())
