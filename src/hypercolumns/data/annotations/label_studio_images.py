"""Find the image files of Label Studio's tasks in a folder."""

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from hypercolumns.data.annotations.image_rule import ImageRule, Parts
from hypercolumns.data.annotations.label_studio_fields import TaskImage

UPLOAD_PREFIX = re.compile(r"[0-9a-f]{8}-(.+)")  # Label Studio puts it before the name of an uploaded file
MAX_EXAMPLES = 20  # names from which rules are derived


def find_images(names: Sequence[TaskImage], images: Mapping[str, Path]) -> list[set[str]]:
    """Find the images that tasks may mean. One rule holds for all images of one storage.

    The rule replaces the first folders of each path by a folder, so that the folders that remain must be the same. If
    no rule finds any image, or files were uploaded, the name of the file alone decides. Upper and lower case of
    suffixes are the same: no two images differ only in them.

    Args:
        names: the image of each task.
        images: the image files, by their ids.

    Returns:
        For each task, the ids of the images that it may mean: several if that is not certain, none if the image is
        missing.
    """
    images = {id: path.with_suffix(path.suffix.lower()) for id, path in images.items()}
    storages: dict[tuple[str, bool], list[int]] = {}
    for number, name in enumerate(names):
        storages.setdefault((name.storage, name.uploaded), []).append(number)
    found: list[set[str]] = [set() for _ in names]
    for (_, uploaded), numbers in storages.items():
        parts = [_lower_suffix(names[number].parts) for number in numbers]
        ids = (None if uploaded else _by_path(parts, images)) or _by_name(parts, images)
        for number, of_task in zip(numbers, ids, strict=True):
            found[number] = of_task
    return found


def _lower_suffix(parts: Parts) -> Parts:
    stem, suffix = os.path.splitext(parts[-1]) if parts else ("", "")
    return (*parts[:-1], stem + suffix.lower()) if parts else parts


def _by_path(names: Sequence[Parts], images: Mapping[str, Path]) -> list[set[str]] | None:
    """Find images by their folders; None if no rule finds all images, or one with a folder in its path."""
    paths = {os.path.abspath(path): id for id, path in images.items()}
    found: dict[ImageRule, list[str | None]] = {}
    for rule in _rules(names[:MAX_EXAMPLES], paths):
        folder = str(rule.folder)
        rests = [parts[rule.left_out :] for parts in names]
        found[rule] = [paths.get(os.path.join(folder, *rest)) if rest else None for rest in rests]
    complete = {rule: ids for rule, ids in found.items() if None not in ids}
    if complete:
        least = min(rule.left_out for rule in complete)
        best = [ids for rule, ids in complete.items() if rule.left_out == least]
        return [{id for id in of_task if id is not None} for of_task in zip(*best, strict=True)]
    with_folders = [
        ids
        for rule, ids in found.items()
        if any(id and len(parts) > rule.left_out + 1 for id, parts in zip(ids, names, strict=True))
    ]
    if not with_folders:
        return None
    return [set() if id is None else {id} for id in min(with_folders, key=lambda ids: ids.count(None))]


def _rules(names: Iterable[Parts], paths: Iterable[str]) -> list[ImageRule]:
    """Return all rules that find an image of the same file name for one of these names."""
    by_name: dict[str, list[Path]] = {}
    for path in map(Path, paths):
        by_name.setdefault(path.name, []).append(path)
    rules: dict[ImageRule, None] = {}
    for parts in names:
        for path in by_name.get(parts[-1], []) if parts else []:
            for shared in range(1, len(parts) + 1):
                if parts[-shared:] != path.parts[-shared:]:
                    break
                rules[ImageRule(len(parts) - shared, path.parents[shared - 1])] = None
    return list(rules)


def _by_name(names: Sequence[Parts], images: Mapping[str, Path]) -> list[set[str]]:
    """Find images by the names of their files: all as they are, or all as Label Studio changes them at an upload."""
    exact: dict[str, set[str]] = {}
    changed: dict[str, set[str]] = {}
    for id, path in images.items():
        exact.setdefault(path.name, set()).add(id)
        for name in {path.name, _valid_name(path.name)}:
            changed.setdefault(name, set()).add(id)
    files = [parts[-1] if parts else "" for parts in names]
    if all(file in exact for file in files):
        return [exact[file] for file in files]
    originals = [prefixed[1] if (prefixed := UPLOAD_PREFIX.fullmatch(file)) else file for file in files]
    return [changed.get(name, set()) for name in originals]


def _valid_name(name: str) -> str:
    """Return the name that Label Studio gives to an uploaded file, without its prefix."""
    return re.sub(r"[^-\w.]", "", name.strip().replace(" ", "_"))
