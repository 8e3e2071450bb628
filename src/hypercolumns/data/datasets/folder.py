"""A folder of images beside a folder of masks."""

from pathlib import Path

import torch

from hypercolumns.data.class_files import read_classes, read_ids, read_palette
from hypercolumns.data.index import DatasetIndex, ImageMaskPair, make_index
from hypercolumns.errors import ArgumentError, check_fraction
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
    val_fraction: float = 0.2,
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
        val_fraction: the fraction of images, in (0, 1), that a split by chance sets aside for val.
        split_seed: of that split.

    Raises:
        ArgumentError: if one of the first three is missing, a file or folder is not there or does not fit.
    """
    if images is None or masks is None or classes is None:
        missing = "images" if images is None else "masks" if masks is None else "classes"
        raise ArgumentError(f"{missing}=None must be given: images=<folder>, masks=<folder> and classes=<file>")
    images, masks = expand_path("images", images), expand_path("masks", masks)
    for argument, place in (("images", images), ("masks", masks)):
        if not place.is_dir():
            raise ArgumentError(f"{argument}={place} is not a folder")
    pairs: dict[str, ImageMaskPair] = {}
    for path in sorted(walk_files(images)):
        if path.suffix.lower() not in SUFFIXES:
            continue
        stem = path.relative_to(images).with_suffix("").as_posix()
        if stem in pairs:
            raise ArgumentError(f"images: {path} and {pairs[stem].image} would have the same mask; rename one")
        pairs[stem] = ImageMaskPair(stem, path, masks / f"{stem}.png")
    if (train is None) != (val is None):
        raise ArgumentError("train and val go together: list both splits, or neither for one by chance")
    if train is None or val is None:
        if len(pairs) < 2:
            raise ArgumentError(
                f"images={images} has {len(pairs)} images ({' '.join(SUFFIXES)}); two are needed at least, for "
                f"train and for val: add some, or name another folder"
            )
        splits = _split(list(pairs.values()), val_fraction, split_seed)
    else:
        splits = {"train": _listed(pairs, train, "train", images), "val": _listed(pairs, val, "val", images)}
    names = read_classes(classes)
    return make_index(name, names, read_palette(palette, len(names)), splits)


def _split(pairs: list[ImageMaskPair], val_fraction: float, seed: int) -> dict[str, list[ImageMaskPair]]:
    check_fraction("val_fraction", val_fraction)
    if not 0 < val_fraction < 1:
        raise ArgumentError(f"val_fraction={val_fraction} must lie between 0 and 1")
    order = torch.randperm(len(pairs), generator=randomness.generator(seed, "split")).tolist()
    count = min(max(round(val_fraction * len(pairs)), 1), len(pairs) - 1)
    chosen = set(order[:count])
    return {
        "train": [pair for index, pair in enumerate(pairs) if index not in chosen],
        "val": [pair for index, pair in enumerate(pairs) if index in chosen],
    }


def _listed(pairs: dict[str, ImageMaskPair], path: str | Path, split: str, images: Path) -> list[ImageMaskPair]:
    names = read_ids(expand_path(f"{split}", path), f"{split}")
    unknown = [name for name in names if name not in pairs]
    if unknown:
        raise ArgumentError(
            f"{split}={path} lists {len(unknown)} names without an image in {images}, such as {unknown[0]}; "
            f"names are relative to that folder, without suffix"
        )
    return [pairs[name] for name in names]
