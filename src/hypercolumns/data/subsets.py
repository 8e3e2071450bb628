"""Subsets of an index: leave-one-group-out folds, and fewer images to train on."""

from collections import Counter
from dataclasses import replace

import torch

from hypercolumns.data.groups import group_ids, group_name
from hypercolumns.data.index import DatasetIndex
from hypercolumns.errors import ArgumentError, check_int
from hypercolumns.runtime import randomness


class UnknownGroupError(ArgumentError):
    """There is no such group of images; `groups` are those that there are."""

    def __init__(self, message: str, groups: list[str]) -> None:
        super().__init__(message)
        self.groups = groups


def hold_out(images: DatasetIndex, group_pattern: str | None, val_group: str | int | None) -> DatasetIndex:
    """Split the train split in two: one group to validate on, and all others to train on, in their order.

    The set's own val split has no part in it, so that choices that are made on folds have not seen it. Without
    `group_pattern` the set is as it is.

    Args:
        images: the set.
        group_pattern: a regular expression; ids that agree in what it finds are of one group, see `group_ids`.
        val_group: the group to validate on, by what the expression finds.

    Returns:
        The set with the splits `train` and `val` of the two parts.

    Raises:
        UnknownGroupError: if no image is of `val_group`.
        ArgumentError: if only one of the two is given, or all images are of one group.
    """
    if group_pattern is None and val_group is None:
        return images
    if group_pattern is None:
        raise ArgumentError(f"val_group={val_group} goes with group_pattern=<a regular expression on ids>")
    pairs = images.splits["train"]
    names = [group_name(group) for group in group_ids([pair.id for pair in pairs], group_pattern, "group_pattern")]
    known = sorted(set(names))
    if len(known) == 1:
        raise ArgumentError(
            f"group_pattern={group_pattern} finds {known[0]} in all {len(pairs)} ids of the train split of "
            f"{images.name}; it must find something else in some, or nothing is left to train on"
        )
    if str(val_group) not in known:
        raise UnknownGroupError(
            f"val_group={val_group} must be one of the groups that group_pattern={group_pattern} finds in the train "
            f"split of {images.name}, which are {', '.join(known)}",
            known,
        )
    splits = {
        "train": tuple(pair for pair, group in zip(pairs, names, strict=True) if group != str(val_group)),
        "val": tuple(pair for pair, group in zip(pairs, names, strict=True) if group == str(val_group)),
    }
    return replace(images, splits=splits)


def take_train_subset(images: DatasetIndex, train_subset: int | None, subset_seed: int = 0) -> DatasetIndex:
    """Keep only some images of the train split, in its order.

    Args:
        images: the set.
        train_subset: how many to keep; None for all.
        subset_seed: chooses which; a smaller subset is part of a larger one.

    Returns:
        The set with the smaller train split.

    Raises:
        ArgumentError: if there are fewer images.
    """
    pairs = images.splits["train"]
    if train_subset is None:
        return images
    is_int = isinstance(train_subset, int) and not isinstance(train_subset, bool)
    if not is_int or not 1 <= train_subset <= len(pairs):
        raise ArgumentError(
            f"train_subset={train_subset} must be a whole number from 1 to {len(pairs)}, which is how many images the "
            f"train split of {images.name} has, or null for all"
        )
    check_int("subset_seed", subset_seed, minimum=0)
    order = torch.randperm(len(pairs), generator=randomness.generator(subset_seed, "limit"))
    chosen = order[:train_subset].sort().values
    return replace(images, splits={**images.splits, "train": tuple(pairs[index] for index in chosen.tolist())})


def shared_ids(images: DatasetIndex) -> list[str]:
    """The ids that more than one split has."""
    counts = Counter(pair.id for pairs in images.splits.values() for pair in pairs)
    return [id for id, count in counts.items() if count > 1]
