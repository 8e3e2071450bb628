"""Find the image files of labelme's files, by one rule for all of them."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from hypercolumns.data.annotations.image_rule import ImageRule, find_file, split_path
from hypercolumns.data.annotations.labelme import LabelmeFile
from hypercolumns.errors import ArgumentError

Ids = list[str | None]  # the id of the image of each file; None if a rule does not find it


def find_images(
    files: Sequence[LabelmeFile], annotations: Path, images: Mapping[str, Path], folder: Path
) -> tuple[list[str], list[str]]:
    """Find the image of each file.

    The rules are: the imagePath, relative to the file, as labelme writes it; the path of the file itself, without its
    suffix; and the imagePath without its first folders, for files from another machine.

    Args:
        files: the files.
        annotations: the folder of the files.
        images: the image files, by their ids.
        folder: the folder of the images.

    Returns:
        The id of the image of each file, which is the path of the file itself if the image is missing; and lines for
        the user.

    Raises:
        ArgumentError: if rules contradict each other, or if no image is found.
    """
    own = [file.path.relative_to(annotations).with_suffix("").as_posix() for file in files]
    named = [file.path.parent / file.image for file in files]
    ids = {os.path.realpath(path): id for id, path in images.items()}
    by_path: Ids = [ids.get(os.path.realpath(find_file(str(path)) or path)) for path in named]
    by_own: Ids = [id if id in images else None for id in own]
    rules = [by_path, by_own] if None not in by_path else [by_path, by_own, _below(files, folder, ids)]
    best = max(rules, key=lambda rule: len(rule) - rule.count(None))  # the first one of several
    if best.count(None) == len(best) and not any(os.path.lexists(path) for path in named):
        raise ArgumentError(
            f"images={folder} holds the image of none of the {len(files)} labelme files, such as {named[0]}, which "
            f"{files[0].path} names; give the folder of the images by data.images= (and that of the files by "
            f"data.annotations=)"
        )
    for rule in rules:
        for file, path, id, other in zip(files, named, best, rule, strict=True):
            if other is not None and other != id:
                shown = f"{images[id]}" if id is not None else "missing"
                raise ArgumentError(
                    f"annotations: {file.path} names the image {path}, which may be {images[other]}; but by the rule "
                    f"that finds most images, it is {shown}. Correct the imagePath, rename the file, or give the "
                    f"folder of the images by data.images="
                )
    stale = [file for file, id in zip(files, best, strict=True) if id and Path(id).name != Path(file.image).stem]
    notes = []
    if stale and best is by_own:
        notes.append(
            f"{len(stale)} labelme files, such as {stale[0].path}, name an image of another name, which does not "
            f"exist; they are used for the images that have their own names"
        )
    return [id or fallback for id, fallback in zip(best, own, strict=True)], notes


def _below(files: Sequence[LabelmeFile], folder: Path, ids: Mapping[str, str]) -> Ids:
    """Find images by their imagePath, without the same number of folders for all files."""
    parts = [split_path(file.image) for file in files]
    best: Ids = [None] * len(files)
    for left_out in range(max(map(len, parts), default=0)):
        found = ImageRule(left_out, folder).find(parts)
        of_rule = [ids.get(os.path.realpath(found[path])) if path in found else None for path in parts]
        known = [id for id in of_rule if id is not None]
        if len(set(known)) == len(known) > len(best) - best.count(None):
            best = of_rule
    return best
