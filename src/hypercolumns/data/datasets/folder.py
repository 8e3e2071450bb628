"""A folder of images beside a folder of masks."""

from pathlib import Path

import torch

from hypercolumns.data.class_files import read_classes, read_ids, read_palette
from hypercolumns.data.index import DatasetIndex, ImageMaskPair, make_index
from hypercolumns.errors import HypercolumnsError, check_fraction
from hypercolumns.io.files import expand_path, walk_files
from hypercolumns.io.images import SUFFIXES
from hypercolumns.runtime import randomness


def folder(
    images: str | Path | None,
    masks: str | Path | None,
    classes: str | Path | None,
    palette: str | Path | None = None,
    name: str = "folder",
    train: str | Path | None = None,
    val: str | Path | None = None,
    val_share: float = 0.2,
    split_seed: int = 0,
) -> DatasetIndex:
    """Images and masks that bear the same names, such as `images/a/1.jpg` and `masks/a/1.png`.

    Args:
        images: the folder of images, searched with its subfolders and those that links lead to.
        masks: the folder of masks, all `.png`.
        classes: a file of class names, one a line.
        palette: a file of the classes' colours, `R G B` one a line; Pascal VOC's by default.
        name: of the folder for the runs.
        train: a file that lists the names, without suffix, of the images to train on; with `val`, instead of a split
            by chance.
        val: likewise, to validate on.
        val_share: the share of images, in (0, 1), that a split by chance sets aside for val.
        split_seed: of that split.

    Raises:
        HypercolumnsError: if a setting is missing, or files are not there.
    """
    if images is None or masks is None or classes is None:
        raise HypercolumnsError("data=folder needs data.images=<folder>, data.masks=<folder> and data.classes=<file>")
    images, masks = expand_path("data.images", images), expand_path("data.masks", masks)
    for setting, place in (("images", images), ("masks", masks)):
        if not place.is_dir():
            raise HypercolumnsError(f"data.{setting}={place} is not a folder")
    pairs: dict[str, ImageMaskPair] = {}
    for path in sorted(walk_files(images)):
        if path.suffix.lower() not in SUFFIXES:
            continue
        stem = path.relative_to(images).with_suffix("").as_posix()
        if stem in pairs:
            raise HypercolumnsError(f"data.images: {path} and {pairs[stem].image} would have the same mask; rename one")
        pairs[stem] = ImageMaskPair(stem, path, masks / f"{stem}.png")
    if (train is None) != (val is None):
        raise HypercolumnsError("data.train and data.val go together: list both splits, or neither for one by chance")
    if train is None or val is None:
        if len(pairs) < 2:
            raise HypercolumnsError(
                f"data.images={images} has {len(pairs)} images ({' '.join(SUFFIXES)}); two are needed at least, for "
                f"train and for val: add some, or name another folder"
            )
        splits = _split(list(pairs.values()), val_share, split_seed)
    else:
        splits = {"train": _listed(pairs, train, "train", images), "val": _listed(pairs, val, "val", images)}
    names = read_classes(classes)
    return make_index(name, names, read_palette(palette, len(names)), splits)


def _split(pairs: list[ImageMaskPair], val_share: float, seed: int) -> dict[str, list[ImageMaskPair]]:
    check_fraction("data.val_share", val_share)
    if not 0 < val_share < 1:
        raise HypercolumnsError(f"data.val_share={val_share} must lie between 0 and 1")
    order = torch.randperm(len(pairs), generator=randomness.generator(seed, "split")).tolist()
    count = min(max(round(val_share * len(pairs)), 1), len(pairs) - 1)
    chosen = set(order[:count])
    return {
        "train": [pair for index, pair in enumerate(pairs) if index not in chosen],
        "val": [pair for index, pair in enumerate(pairs) if index in chosen],
    }


def _listed(pairs: dict[str, ImageMaskPair], path: str | Path, split: str, images: Path) -> list[ImageMaskPair]:
    names = read_ids(expand_path(f"data.{split}", path), f"data.{split}")
    unknown = [name for name in names if name not in pairs]
    if unknown:
        raise HypercolumnsError(
            f"data.{split}={path} lists {len(unknown)} names without an image in {images}, such as {unknown[0]}; "
            f"names are relative to that folder, without suffix"
        )
    return [pairs[name] for name in names]
