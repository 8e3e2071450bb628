"""Change the splits of a data set: validate on one group of the train images, or train on fewer images."""

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from hypercolumns.data.groups import group_ids, group_name
from hypercolumns.data.index import DatasetIndex, ImageMaskPair
from hypercolumns.data.near_masks import by_mask_name, nearest_mask_in
from hypercolumns.errors import ArgumentError, HypercolumnsError, check_int
from hypercolumns.io.mask_source import has_mask
from hypercolumns.runtime import randomness
from hypercolumns.runtime.progress import console


class UnknownGroupError(ArgumentError):
    """An error for a `val_group` that is not the name of a group in the train split.

    Args:
        message: the text of the error.
        groups: the names of all groups in the train split.
    """

    def __init__(self, message: str, groups: list[str]) -> None:
        super().__init__(message)
        self.groups = groups


def hold_out(images: DatasetIndex, group_pattern: str | None, val_group: str | int | None) -> DatasetIndex:
    """Make one group of the train split the val split, and keep the other groups as the train split.

    The former val split is dropped. Settings that are chosen on the new splits therefore do not depend on the images of
    the former val split.

    Args:
        images: the data set.
        group_pattern: a regular expression that finds the group in an image id, see `group_ids`. If both
            `group_pattern` and `val_group` are None, the data set is returned unchanged.
        val_group: the name of the group to validate on, see `group_name`.

    Returns:
        The data set with two splits: `val` holds the images of `val_group`, and `train` the images of all other groups.
        Both keep the order of the former train split.

    Raises:
        UnknownGroupError: if `group_pattern` is given, but `val_group` is None or not a group of the train split.
        ArgumentError: if `val_group` is given without `group_pattern`, if the pattern is not a valid regular expression
            or does not match the id of every train image, or if all train images belong to one group.
    """
    if group_pattern is None and val_group is None:
        return images
    if group_pattern is None:
        raise ArgumentError(
            f"val_group={val_group} needs group_pattern=<a regular expression that finds the group in each id>"
        )
    pairs = images.splits["train"]
    names = [group_name(group) for group in group_ids([pair.id for pair in pairs], group_pattern, "group_pattern")]
    known = sorted(set(names))
    if len(known) == 1:
        raise ArgumentError(
            f"group_pattern={group_pattern} finds the same group, {known[0]}, in all {len(pairs)} ids of the train "
            f"split of {images.name}; the pattern must find at least two groups, one to validate on and others to "
            f"train on"
        )
    if str(val_group) not in known:
        raise UnknownGroupError(
            f"val_group={val_group} must be one of the groups that group_pattern={group_pattern} finds in the train "
            f"split of {images.name}: {', '.join(known)}",
            known,
        )
    splits = {
        "train": tuple(pair for pair, group in zip(pairs, names, strict=True) if group != str(val_group)),
        "val": tuple(pair for pair, group in zip(pairs, names, strict=True) if group == str(val_group)),
    }
    return replace(images, splits=splits)


def take_train_subset(images: DatasetIndex, train_subset: int | None, subset_seed: int = 0) -> DatasetIndex:
    """Keep a random subset of the images of the train split. The val split does not change.

    Args:
        images: the data set.
        train_subset: the number of train images to keep; None keeps all.
        subset_seed: the seed of the random choice. With the same seed, a larger subset contains a smaller one.

    Returns:
        The data set with the kept images as its train split, in the order of the former train split.

    Raises:
        ArgumentError: if `train_subset` is not a whole number from 1 to the number of train images, or `subset_seed`
            is not a whole number of at least 0.
    """
    pairs = images.splits["train"]
    if train_subset is None:
        return images
    is_int = isinstance(train_subset, int) and not isinstance(train_subset, bool)
    if not is_int or not 1 <= train_subset <= len(pairs):
        raise ArgumentError(
            f"train_subset={train_subset} must be a whole number from 1 to {len(pairs)} (the number of images in the "
            f"train split of {images.name}), or null for all images"
        )
    check_int("subset_seed", subset_seed, minimum=0)
    order = torch.randperm(len(pairs), generator=randomness.generator(subset_seed, "limit"))
    chosen = order[:train_subset].sort().values
    return replace(images, splits={**images.splits, "train": tuple(pairs[index] for index in chosen.tolist())})


def drop_unlabelled(images: DatasetIndex, unlabelled: str, mask_name: str | None = None) -> DatasetIndex:
    """Leave out the images that have no mask or annotation, and print how many they are, or stop if there are any.

    Args:
        images: the data set.
        unlabelled: `skip`: leave them out; `error`: stop.
        mask_name: the setting by which the masks were looked for; None if the data set has no such setting.

    Returns:
        The data set, whose images all have a mask.

    Raises:
        HypercolumnsError: if images have no mask and `unlabelled` is `error`.
        ArgumentError: if `unlabelled` is `skip`, but no image of a split has a mask.
    """
    splits = {split: tuple(pair for pair in pairs if has_mask(pair.mask)) for split, pairs in images.splits.items()}
    missing = [pair for split, pairs in images.splits.items() for pair in pairs if not has_mask(pair.mask)]
    if missing and unlabelled == "error":
        which = _describe_missing(images, missing, mask_name)
        raise HypercolumnsError(f"data {images.name}: {len(missing)} images have no mask, such as {which}")
    for split, pairs in images.splits.items():
        if not splits[split]:
            raise ArgumentError(
                f"unlabelled=skip leaves no image in the {split} split of {images.name}: none of its {len(pairs)} "
                f"images has a mask, such as {pairs[0].image}, {_where(pairs[0])}"
            )
    if missing:
        counts = ", ".join(
            f"{len(pairs) - len(splits[split])} of {len(pairs)} {split}" for split, pairs in images.splits.items()
        )
        console.print(f"left out, as they have no mask yet: {counts} images", markup=False)
    return replace(images, splits=splits)


def _describe_missing(images: DatasetIndex, missing: Sequence[ImageMaskPair], mask_name: str | None) -> str:
    """Say which mask is missing, and what to do; prefer a mask for which there is a file of another name or format."""
    skip = "set data.unlabelled=skip to leave these images out"
    near = nearest_mask_in(images.splits)
    if near is not None:
        return f"{near.describe(by_mask_name(mask_name))}; or {skip}"
    every = len(missing) == sum(map(len, images.splits.values()))
    no_mask = "no image has one, so check the folder and the names of the masks or annotations"
    return f"{missing[0].image}, {_where(missing[0])}; {no_mask if every else f'{skip}, or add their masks'}"


def _where(pair: ImageMaskPair) -> str:
    """Say where the mask of an image was looked for."""
    if isinstance(pair.mask, Path):
        return f"whose mask would be {pair.mask}"
    return f"which {pair.mask.path} does not annotate"


def shared_ids(images: DatasetIndex) -> list[str]:
    """List the ids of images that occur in more than one split of a data set, by their ids or by their files."""
    ids = Counter(pair.id for pairs in images.splits.values() for pair in pairs)
    files = Counter(os.path.realpath(pair.image) for pairs in images.splits.values() for pair in pairs)
    shared = (
        pair.id
        for pairs in images.splits.values()
        for pair in pairs
        if ids[pair.id] > 1 or files[os.path.realpath(pair.image)] > 1
    )
    return list(dict.fromkeys(shared))
