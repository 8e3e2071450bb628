"""Data sets that consist of a folder of images and a folder of masks."""

from pathlib import Path

import torch

from hypercolumns.data.class_files import read_classes, read_ids, read_palette
from hypercolumns.data.index import DatasetIndex, ImageMaskPair, make_index
from hypercolumns.errors import ArgumentError, check_fraction
from hypercolumns.io.files import expand_path, walk_files
from hypercolumns.io.images import SUFFIXES
from hypercolumns.labels import LabelScheme
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
    """Index a folder of images and a folder of masks.

    An image and its mask have the same path below their folders, such as `images/a/1.jpg` and `masks/a/1.png`.

    Args:
        images: the folder of images. Subfolders and links to folders are searched too.
        masks: the folder of masks. All masks are `.png` files.
        classes: a text file of class names, one per line, in the order of the class indices.
        palette: a text file of the classes' colours, one `R G B` per line, in the order of the class indices; Pascal
            VOC's colours by default.
        name: the name of the data set, and of the folder of its runs.
        train: a text file that lists the images to train on, one per line, as paths below `images` without suffix. Give
            both `train` and `val`, or neither for a random split.
        val: a text file that lists the images to validate on, in the format of `train`.
        val_fraction: the fraction of the images, in (0, 1), that the random split assigns to val.
        split_seed: the seed of the random split.

    Returns:
        The index of both splits. Whether the masks exist is not checked.

    Raises:
        ArgumentError: if `images`, `masks` or `classes` is None, if a folder does not exist, if a text file can't be
            read or its content is invalid, if two images have the same path apart from their suffixes and would
            therefore share a mask, or if only one of `train` and `val` is given. For a random split, also if there are
            fewer than two images, or if `val_fraction` is outside (0, 1).
        HypercolumnsError: if a split is empty or lists an invalid id, see `make_index`.
    """
    if images is None or masks is None or classes is None:
        missing = "images" if images is None else "masks" if masks is None else "classes"
        raise ArgumentError(
            f"{missing}=None must be a path; the data set needs images and masks (folders) and classes (a text file)"
        )
    images, masks = expand_path("images", images), expand_path("masks", masks)
    for argument, path in (("images", images), ("masks", masks)):
        if not path.is_dir():
            raise ArgumentError(f"{argument}={path} is not a folder; give the folder of the {argument}")
    pairs: dict[str, ImageMaskPair] = {}
    for path in sorted(walk_files(images)):
        if path.suffix.lower() not in SUFFIXES:
            continue
        stem = path.relative_to(images).with_suffix("").as_posix()
        if stem in pairs:
            raise ArgumentError(f"images: {path} and {pairs[stem].image} would have the same mask; rename one of them")
        pairs[stem] = ImageMaskPair(stem, path, masks / f"{stem}.png")
    if (train is None) != (val is None):
        raise ArgumentError(
            "train and val go together: give both lists of images, or leave out both for a random split"
        )
    if train is None or val is None:
        if len(pairs) < 2:
            raise ArgumentError(
                f"images={images} has {len(pairs)} images ({' '.join(SUFFIXES)}); expected at least two, one for train "
                f"and one for val: add images, or give another folder"
            )
        splits = _split(list(pairs.values()), val_fraction, split_seed)
    else:
        splits = {"train": _listed(pairs, train, "train", images), "val": _listed(pairs, val, "val", images)}
    names = read_classes(classes)
    return make_index(name, LabelScheme.of(names, read_palette(palette, len(names))), splits)


def _split(pairs: list[ImageMaskPair], val_fraction: float, seed: int) -> dict[str, list[ImageMaskPair]]:
    check_fraction("val_fraction", val_fraction)
    if not 0 < val_fraction < 1:
        raise ArgumentError(f"val_fraction={val_fraction} must be above 0 and below 1")
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
            f"names must be relative to this folder, without suffix"
        )
    return [pairs[name] for name in names]
