"""Compare the images and masks that the settings of `data=folder` choose with all files of a folder."""

from collections import defaultdict
from pathlib import Path

from hypercolumns.data.index import DatasetIndex
from hypercolumns.data.layout import Layout
from hypercolumns.data.near_masks import nearest_mask_in
from hypercolumns.data.pair_rules import pictures
from hypercolumns.errors import ArgumentError


def check_left_out(root: Path, images: DatasetIndex, layout: Layout) -> str:
    """Check that the settings leave out nothing that may belong to the images.

    Args:
        root: the folder.
        images: the data set that the settings chose.
        layout: the settings.

    Returns:
        A line for the user with the folders that are not read; "" if all files are used.

    Raises:
        ArgumentError: if files beside the images and masks are neither, or one is a mask in a format that is not read.
    """
    used = {path for pairs in images.splits.values() for pair in pairs for path in (pair.image, pair.mask)}
    folders = {path.parent for path in used if isinstance(path, Path)}
    left: dict[Path, list[Path]] = defaultdict(list)
    for path in pictures(root):
        if path not in used:
            left[path.parent].append(path)
    near = nearest_mask_in(images.splits)
    if near is not None and near.path in left.get(near.path.parent, ()) and near.path.stem == near.expected.stem:
        raise ArgumentError(f"root={root}: images have no mask, such as {near.describe(None)}")
    listed = any(isinstance(layout.settings.get(split), Path) for split in ("train", "val"))
    for folder in folders & {*left} if not listed else ():
        raise ArgumentError(
            f"root={root}: {len(left[folder])} files beside the images and masks are neither of them by "
            f"{layout.overrides()}, such as {left[folder][0]}; move these files, or write all masks of an image to one "
            f"file, or give the settings of data=folder that you mean"
        )
    names = [f"{folder.relative_to(root)} ({len(files)} files)" for folder, files in sorted(left.items())]
    return f"not read: {', '.join(names)}" if names else ""
