"""Subsets of an index: leave-one-group-out folds, and fewer images to train on."""

from collections import Counter
from dataclasses import replace

import torch

from hypercolumns.data.groups import group_ids, group_name
from hypercolumns.data.index import DatasetIndex
from hypercolumns.errors import HypercolumnsError, check_int
from hypercolumns.runtime import randomness


def hold_out(images: DatasetIndex, split_by: str | None, left_out: str | int | None) -> DatasetIndex:
    """The train split in two: the group of that name to validate on, and all others to train on, in their order.

    The set's own val split has no part in it, so that choices that are made on folds have not seen it. Without
    `split_by` the set is as it is.

    Args:
        images: the set.
        split_by: a regular expression; ids that agree in what it finds are of one group, see `groups_by`.
        left_out: the group to validate on, by what the expression finds.

    Raises:
        HypercolumnsError: if only one of the two is given, all images are of one group, or none is of that group.
    """
    if split_by is None and left_out is None:
        return images
    if split_by is None:
        raise HypercolumnsError(f"data.fold={left_out} goes with data.split_by=<a regular expression on ids>")
    pairs = images.splits["train"]
    names = [group_name(group) for group in group_ids([pair.id for pair in pairs], split_by, "data.split_by")]
    known = sorted(set(names))
    if len(known) == 1:
        raise HypercolumnsError(
            f"data.split_by={split_by} finds {known[0]} in all {len(pairs)} ids of the train split of {images.name}; "
            f"it must find something else in some, or nothing is left to train on"
        )
    if str(left_out) not in known:
        raise HypercolumnsError(
            f"data.fold={left_out} must be one of the groups that data.split_by={split_by} finds in the train split of "
            f"{images.name}, which are {', '.join(known)}; all of them: -m data.fold={','.join(known)}"
        )
    splits = {
        "train": tuple(pair for pair, group in zip(pairs, names, strict=True) if group != str(left_out)),
        "val": tuple(pair for pair, group in zip(pairs, names, strict=True) if group == str(left_out)),
    }
    return replace(images, splits=splits)


def train_subset(images: DatasetIndex, count: int | None, seed: int) -> DatasetIndex:
    """Only `count` images of the train split, in its order, that `seed` chooses; None for all.

    What a seed chooses grows with `count`: fewer images are some of more. Raises HypercolumnsError if there are fewer.
    """
    pairs = images.splits["train"]
    if count is None:
        return images
    if not isinstance(count, int) or isinstance(count, bool) or not 1 <= count <= len(pairs):
        raise HypercolumnsError(
            f"data.limit_images={count} must be a whole number from 1 to {len(pairs)}, which is how many images the "
            f"train split of {images.name} has, or null for all"
        )
    check_int("data.limit_seed", seed, minimum=0)
    chosen = torch.randperm(len(pairs), generator=randomness.generator(seed, "limit"))[:count].sort().values
    return replace(images, splits={**images.splits, "train": tuple(pairs[index] for index in chosen.tolist())})


def shared_ids(images: DatasetIndex) -> list[str]:
    """The ids that more than one split has."""
    counts = Counter(pair.id for pairs in images.splits.values() for pair in pairs)
    return [id for id, count in counts.items() if count > 1]
