"""Data sets that consist of a folder of images and a folder of masks."""

import os
from dataclasses import replace
from pathlib import Path

from hypercolumns.data.class_files import Classes, Colours, class_list
from hypercolumns.data.index import DatasetIndex, ImageMaskPair, make_index
from hypercolumns.data.near_masks import check_some_masks
from hypercolumns.data.pairing import (
    check_name_pattern,
    find_mask,
    image_files,
)
from hypercolumns.data.splits import choose_splits
from hypercolumns.errors import ArgumentError, DataNotFoundError
from hypercolumns.io.files import base_folder, existing_folder, expand_path
from hypercolumns.io.images import SUFFIXES


def folder(
    images: str | Path | None,
    masks: str | Path | None,
    classes: Classes | None,
    palette: Colours | None = None,
    name: str = "folder",
    train: str | Path | None = None,
    val: str | Path | None = None,
    val_fraction: float = 0.2,
    split_seed: int = 0,
    image_name: str = "{id}.*",
    mask_name: str = "{id}.*",
    root: str | Path | None = None,
    val_images: str | Path | None = None,
    val_masks: str | Path | None = None,
) -> DatasetIndex:
    """Index a folder of images and a folder of masks.

    An image and its mask have the same path below their folders, such as `images/a/1.jpg` and `masks/a/1.png`.

    Args:
        images: the folder of images. Subfolders and links to folders are searched too.
        masks: the folder of masks. It may be the folder of images, if `mask_name` tells them apart.
        classes: a file that lists the classes, or their names, see `class_files.class_list`.
        palette: the classes' colours, see `class_files.class_list`. `voc`: Pascal VOC's colours.
        name: the name of the data set, and of the folder of its runs.
        train: a text file that lists the images to train on, one per line, as paths below `images` without suffix, or
            with the paths of the image and of its mask on each line; or a subfolder of `images`. Give both `train` and
            `val`, or neither for a random split.
        val: the images to validate on, in the same way.
        val_fraction: the fraction of the images, in (0, 1), that the random split assigns to val.
        split_seed: the seed of the random split.
        image_name: the names of the image files, with `{id}` in place of the name that the image and its mask share.
        mask_name: the names of the mask files in the same way, such as `{id}_mask.png`. Both may name folders, such as
            `images/{id}.jpg` and `labels/{id}.png` for images and masks in neighbouring folders.
        root: the folder that the other folders are relative to; None: the working directory. Lists that are not in
            the working directory are looked up in this folder.
        val_images: the folder of the images to validate on, if they lie in a tree of their own. An id then begins with
            the folders in which the two trees differ.
        val_masks: the folder of their masks.

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
        raise DataNotFoundError(
            f"{missing} is not set; the data set needs images and masks (folders) and classes (a file, or a list of "
            f"names)"
        )
    base = base_folder(root)
    images, masks = existing_folder("images", images, base), existing_folder("masks", masks, base)
    pairs = _pairs(images, masks, image_name, mask_name)
    if val_images is None and val_masks is None:
        splits = choose_splits(pairs, images, train, val, val_fraction, split_seed, base)
    else:
        if val_images is None or val_masks is None or train is not None or val is not None:
            raise ArgumentError(
                f"val_images={val_images} and val_masks={val_masks} go together, and instead of train={train} and "
                f"val={val}; give both folders, and leave out the others"
            )
        val_folder = existing_folder("val_images", val_images, base)
        of_val = _pairs(val_folder, existing_folder("val_masks", val_masks, base), image_name, mask_name)
        splits = {"train": _below(pairs, images, val_folder), "val": _below(of_val, val_folder, images)}
    check_some_masks(splits, masks, mask_name)
    return make_index(name, class_list(classes, palette), splits)


def folder_to_label(
    images: str | Path | None,
    masks: str | Path | None,
    classes: Classes | None,
    palette: Colours | None = None,
    name: str = "folder",
    image_name: str = "{id}.*",
    mask_name: str = "{id}.*",
    root: str | Path | None = None,
) -> DatasetIndex:
    """Index a folder of images whose masks need not exist yet, with all images in the split `train`.

    Args:
        images: see `folder`.
        masks: the folder of masks, which need not exist.
        classes: see `folder`.
        palette: see `folder`.
        name: see `folder`.
        image_name: see `folder`.
        mask_name: see `folder`.
        root: see `folder`.

    Returns:
        The index.

    Raises:
        ArgumentError: see `folder`.
        HypercolumnsError: if there are no images, or an id is invalid, see `make_index`.
    """
    if images is None or masks is None or classes is None:
        missing = "images" if images is None else "masks" if masks is None else "classes"
        raise ArgumentError(
            f"{missing} is not set; give images (a folder), masks (a folder to write masks to) and classes (a file, or "
            f"a list of names)"
        )
    base = base_folder(root)
    images, masks = existing_folder("images", images, base), base / expand_path("masks", masks)
    pairs = _pairs(images, masks, image_name, mask_name)
    if not pairs:
        raise ArgumentError(f"images={images} has no images ({' '.join(SUFFIXES)}); give another folder")
    own = [pair.image for pair in pairs.values() if pair.image == pair.mask]
    if own:
        raise ArgumentError(
            f"{own[0]} would be its own mask, as images and masks have the same names in the same folder; give another "
            f"folder as masks, or say by mask_name how masks are named, such as {{id}}_mask.png"
        )
    return make_index(name, class_list(classes, palette), {"train": [*pairs.values()]})


def _pairs(images: Path, masks: Path, image_name: str, mask_name: str) -> dict[str, ImageMaskPair]:
    """Return the images in a folder, each with the path of its mask, by their ids; refuse invalid names of files."""
    check_name_pattern("image_name", image_name)
    check_name_pattern("mask_name", mask_name)
    found = image_files(images, image_name)
    all_masks = {id: find_mask([masks], id, mask_name) for id in found}
    taken = set(all_masks.values())  # masks that lie beside the images are no images
    return {
        id: ImageMaskPair(id, path, all_masks[id])
        for id, path in found.items()
        if path not in taken or path == all_masks[id]
    }


def _below(pairs: dict[str, ImageMaskPair], folder: Path, other: Path) -> list[ImageMaskPair]:
    """Return pairs whose ids begin with the folders that `other` does not have, so that no id is in both."""
    above = folder.absolute().relative_to(os.path.commonpath([folder.absolute(), other.absolute()]))
    return [replace(pair, id=(above / id).as_posix()) for id, pair in pairs.items()]
