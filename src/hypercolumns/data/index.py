"""The index of a data set: its classes, its splits, and the files of its images and masks."""

import hashlib
import json
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

from torch import Tensor

from hypercolumns.data.class_list import ClassList
from hypercolumns.errors import (
    HypercolumnsError,
    InvalidFileError,
    UnreadableError,
    check_folder_name,
    shorten_list,
)
from hypercolumns.io.decoding import AS_STORED, ImageDecoding
from hypercolumns.io.files import file_hash, file_signature
from hypercolumns.io.mask_source import Mask, has_mask, mask_hash, mask_signature
from hypercolumns.io.masks import read_pair
from hypercolumns.labels import LabelScheme, Palette


@dataclass(frozen=True)
class ImageMaskPair:
    """The file of an image, and its mask.

    Attributes:
        id: the image's path below the folder of images, without suffix.
        image: the image file.
        mask: the mask file, or the source that draws the mask.
    """

    id: str
    image: Path
    mask: Mask


@dataclass(frozen=True)
class DatasetIndex:
    """A data set: its classes, and the image-mask pairs of its splits `train` and `val`.

    Attributes:
        name: the name of the data set, and of the folder of its runs.
        class_list: the classes as they are listed.
        scheme: the classes as they are trained, and the rule that turns the pixels of a mask file into class indices.
        splits: the image-mask pairs of each split, under the keys `train` and `val`. The position of a pair in its
            split, from 0, is the index of the image.
        decoding: the rules that turn the stored pixels of the images into RGB.
        notes: what was decided about the data set that its files do not say; a line each, for the user.
    """

    name: str
    class_list: ClassList
    scheme: LabelScheme
    splits: Mapping[str, tuple[ImageMaskPair, ...]]
    decoding: ImageDecoding = AS_STORED
    notes: tuple[str, ...] = ()

    @property
    def classes(self) -> tuple[str, ...]:
        """The class names, in the order of the class indices."""
        return self.scheme.classes

    @property
    def palette(self) -> Palette:
        """The colours of the classes, in the same order."""
        return self.scheme.palette

    @property
    def file_scheme(self) -> LabelScheme | None:
        """The scheme of mask files; None if the masks are drawn from annotations, so that no file has their values."""
        return None if self.class_list.own_void else self.scheme

    def fingerprint(self) -> dict[str, object]:
        """Return the fingerprint of the data set's content. It does not depend on the folder that holds the files.

        Returns:
            The entries of the scheme, see `LabelScheme.fingerprint`. The name of each split is a key, too. Its value is
            a hash of the split's image ids, of the contents of its images and masks, and of the decoding. A decoding
            that differs from the default also has a key of its own, which shows the difference. The key `images` has
            the number of images of each split, for messages about data that differ.
        """
        rules = self.decoding.settings()
        hashes = {split: _hash(pairs, rules) for split, pairs in self.splits.items()}
        counts = {"images": {split: len(pairs) for split, pairs in self.splits.items()}}
        return self.scheme.fingerprint() | hashes | counts | ({"decoding": rules} if rules else {})


def make_index(
    name: str, classes: ClassList, splits: Mapping[str, Sequence[ImageMaskPair]], notes: Sequence[str] = ()
) -> DatasetIndex:
    """Make the index of a data set, after checking the data set's name and the ids of its images.

    The image and mask files are not opened.

    Args:
        name: the data set's name, which must be usable as a folder name.
        classes: the classes.
        splits: for each split, `train` and `val`, its image-mask pairs. Their order is kept.
        notes: lines for the user, see `DatasetIndex`.

    Returns:
        The index.

    Raises:
        ArgumentError: if `name` can't be the name of a folder.
        HypercolumnsError: if a split is empty, or if an id occurs twice in a split, is an absolute path, contains `..`,
            is not a normalised path, or can't be encoded as UTF-8.
    """
    check_folder_name("name", name)
    for split, pairs in splits.items():
        if not pairs:
            raise HypercolumnsError(f"data {name}: the {split} split has no images; it needs at least one")
        counts = Counter(pair.id for pair in pairs)
        repeated = sorted(id for id, count in counts.items() if count > 1)
        if repeated:
            raise HypercolumnsError(
                f"data {name}: the {split} split repeats images ({shorten_list(repeated)}); list each image once"
            )
        outside = [id for id in counts if PurePath(id).is_absolute() or ".." in PurePath(id).parts]
        if outside:
            raise HypercolumnsError(
                f"data {name}: the {split} split lists paths outside the folder of images ({shorten_list(outside)}); "
                f"write paths relative to this folder, without a leading slash and without .."
            )
        irregular = [id for id in counts if PurePath(id).as_posix() != id]
        if irregular:
            raise HypercolumnsError(
                f"data {name}: the {split} split lists paths that are not normalised ({shorten_list(irregular)}); "
                f"leave out ./ and extra slashes, as in {PurePath(irregular[0]).as_posix()}"
            )
        not_utf8 = [id for id in counts if not _is_utf8(id)]
        if not_utf8:
            raise HypercolumnsError(
                f"data {name}: image names of the {split} split are not UTF-8 ({shorten_list(not_utf8)}); rename "
                f"the files"
            )
    of_split = {split: tuple(pairs) for split, pairs in splits.items()}
    return DatasetIndex(name, classes, classes.scheme(), of_split, notes=tuple(notes))


def check_present(images: DatasetIndex) -> None:
    """Check that all images and masks of a data set exist.

    Raises:
        HypercolumnsError: if files or annotations of a split are missing. The message names ten of them at most. It
            covers only the first split with missing files.
    """
    for split, pairs in images.splits.items():
        missing = [str(path) for pair in pairs for path in (pair.image, pair.mask) if not _exists(path)]
        if missing:
            raise HypercolumnsError(
                f"data {images.name}: {len(missing)} files of the {split} split are missing: {shorten_list(missing)}; "
                f"add these files, or remove their images from the split"
            )


def read_example(
    pair: ImageMaskPair, scheme: LabelScheme, decoding: ImageDecoding = AS_STORED
) -> tuple[Tensor, Tensor]:
    """Read an image and its mask by `read_pair`, but raise different errors for invalid and for unreadable files.

    Args:
        pair: the files to read.
        scheme: the rule that turns the pixels of a mask file into class indices.
        decoding: the rules that turn the stored pixels of the image into RGB.

    Returns:
        The image (N, H, W) and the mask (H, W), both uint8. The mask holds class indices, or 255 for void.

    Raises:
        InvalidFileError: if a file is missing or its content can't be used, or if image and mask differ in size.
        UnreadableError: if the operating system can't read a file. The content of the file may be valid.
    """
    try:
        return read_pair(pair.image, pair.mask, scheme, decoding)
    except UnreadableError:  # the file's content may be valid, so this must not become an InvalidFileError
        raise
    except HypercolumnsError as error:
        raise InvalidFileError(str(error)) from error


def pair_signature(pair: ImageMaskPair) -> str:
    """Return a hash that changes if the image or the mask of a pair may have changed, see `file_signature`."""
    if isinstance(pair.mask, Path):
        return file_signature(pair.image, pair.mask)
    return file_signature(pair.image) + mask_signature(pair.mask)


def _exists(mask: Mask) -> bool:
    return os.path.isfile(mask) if isinstance(mask, Path) else has_mask(mask)


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _hash(pairs: Sequence[ImageMaskPair], rules: Mapping[str, Any]) -> str:
    digest = hashlib.sha256(json.dumps(rules).encode() if rules else b"")
    for pair in pairs:
        digest.update(pair.id.encode())
        for content in (file_hash(pair.image), mask_hash(pair.mask)):
            digest.update(bytes.fromhex(content))
    return digest.hexdigest()[:16]
