"""Subsets of a data set: leave-one-group-out folds and smaller train splits."""

from collections import Counter
from dataclasses import replace

import torch

from hypercolumns.data.groups import group_ids, group_name
from hypercolumns.data.index import DatasetIndex
from hypercolumns.errors import ArgumentError, check_int
from hypercolumns.runtime import randomness


class UnknownGroupError(ArgumentError):
    """An error for a `val_group` that the train split does not contain.

    Args:
        message: the text of the error.
        groups: the names of the groups in the train split.
    """

    def __init__(self, message: str, groups: list[str]) -> None:
        super().__init__(message)
        self.groups = groups


def hold_out(images: DatasetIndex, group_pattern: str | None, val_group: str | int | None) -> DatasetIndex:
    """Validate on one group of the train split, and train on its other groups.

    The data set's own val split is dropped, so settings that are chosen on these splits do not depend on it.

    Args:
        images: the data set.
        group_pattern: a regular expression that finds the group in an image id, see `group_ids`. If both
            `group_pattern` and `val_group` are None, the data set is returned unchanged.
        val_group: the name of the group to validate on, see `group_name`.

    Returns:
        The data set with two splits, in the order of the former train split: `val` holds the images of `val_group`,
        and `train` the images of all other groups.

    Raises:
        UnknownGroupError: if a pattern is given, but `val_group` is None or not a group of the train split.
        ArgumentError: if `val_group` is given without `group_pattern`, the pattern is invalid or does not match the id
            of every train image, or all train images belong to one group.
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
            f"split of {images.name}; it must find at least two groups, one to validate on and others to train on"
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
    """Keep a random subset of the train split.

    Args:
        images: the data set.
        train_subset: the number of images to keep; None keeps all.
        subset_seed: the seed of the choice. With the same seed, a smaller subset is part of a larger one.

    Returns:
        The data set with the kept images as its train split, in their former order.

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


def shared_ids(images: DatasetIndex) -> list[str]:
    """List the ids that occur in more than one split."""
    counts = Counter(pair.id for pairs in images.splits.values() for pair in pairs)
    return [id for id, count in counts.items() if count > 1]
