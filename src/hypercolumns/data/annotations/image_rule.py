"""Find the image files that an annotation file names, by one rule for all of its images."""

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from hypercolumns.data.pairing import suffix_spellings
from hypercolumns.errors import ArgumentError
from hypercolumns.overrides import format_override

Parts = tuple[str, ...]  # the folders and the file of a path


@dataclass(frozen=True)
class ImageRule:
    """A rule that turns the names of images into paths: it replaces the first folders of each name by a folder.

    Attributes:
        left_out: the number of folders that are left out.
        folder: the folder that is put in their place.
    """

    left_out: int
    folder: Path

    def path(self, parts: Parts) -> Path:
        """Return the path of an image, see `find_file`."""
        path = self.folder.joinpath(*self.rest(parts))
        return Path(find_file(str(path)) or path)

    def rest(self, parts: Parts) -> Parts:
        """Return what is left of a name; all of it if the name is too short."""
        return parts[self.left_out :] or parts

    def find(self, names: Iterable[Parts]) -> dict[Parts, str]:
        """Return the path of each image whose file, or whose broken link, exists, see `find_file`."""
        folder = str(self.folder)
        fitting = [(parts, parts[self.left_out :]) for parts in names if len(parts) > self.left_out]
        paths = {parts: os.path.join(folder, *rest) for parts, rest in fitting if ".." not in rest}
        found = {parts: find_file(path) for parts, path in paths.items()}
        return {parts: path for parts, path in found.items() if path is not None}


def find_file(path: str) -> str | None:
    """Return the file or the broken link of a path, or else the one whose suffix differs in its case; None without one.

    Raises:
        ArgumentError: if the path does not exist, but several others that differ in the case of the suffix do.
    """
    if os.path.lexists(path):
        return path
    stem, suffix = os.path.splitext(path)
    found = [stem + spelled for spelled in suffix_spellings((suffix,)) if os.path.lexists(stem + spelled)]
    if len(found) > 1:
        raise ArgumentError(
            f"images: {path} does not exist, but may be {found[0]} or {found[1]}; rename the right one to {path}"
        )
    return found[0] if found else None


def split_path(name: str) -> Parts:
    """Split a path of any system into its folders and its file."""
    return tuple(part for part in name.replace("\\", "/").split("/") if part not in ("", "."))


def choose_rule(names: Sequence[Parts], places: Sequence[Path], source: str, given: Path | None = None) -> ImageRule:
    """Choose the rule that finds most images, and of these the one that leaves out the fewest folders.

    Args:
        names: the names of the images.
        places: the folders that names may be relative to; the first one is that of images that are not found.
        source: the annotation file, for messages.
        given: the folder that the user names, one of `places`. It is not questioned if it holds all images.

    Returns:
        The rule. Some images may still be missing.

    Raises:
        ArgumentError: if the images that a name means are not certain, because several folders hold images of these
            names, because no folder holds all of them, or because two names would mean one file.
    """
    distinct = list(dict.fromkeys(names))
    if given is not None and len(ImageRule(0, given).find(distinct)) == len(distinct):
        return ImageRule(0, given)
    found: dict[ImageRule, dict[Parts, str]] = {}
    doubled: ImageRule | None = None
    for left_out in range(max(map(len, distinct), default=0)):
        for place in places:
            rule = ImageRule(left_out, place)
            of_rule = rule.find(distinct)
            if len(set(of_rule.values())) < len(of_rule):
                doubled = doubled or rule
            elif of_rule:
                found[rule] = of_rule
        if any(len(of_rule) == len(distinct) for of_rule in found.values()):
            break
    if not found:
        if doubled is not None:
            _raise_doubled(doubled.find(distinct), source)
        return ImageRule(0, places[0])
    best = max(found, key=lambda rule: len(found[rule]))  # the first one of several
    for rule, of_rule in found.items():
        _check_certain(best, found[best], rule, of_rule, source)
    return best


def _check_certain(
    best: ImageRule, of_best: Mapping[Parts, str], other: ImageRule, of_other: Mapping[Parts, str], source: str
) -> None:
    """Raise ArgumentError if another rule finds images that the best one lacks, or finds others with equal right."""
    lacking = next((parts for parts in of_other if parts not in of_best), None)
    if lacking is not None:
        first = next(iter(of_best))
        raise ArgumentError(
            f"images: no folder holds all images of {source}: {'/'.join(first)} may be {of_best[first]}, and "
            f"{'/'.join(lacking)} {of_other[lacking]}; put the images into one folder, and give it by data.images="
        )
    if other.left_out < best.left_out or len(of_other) == len(of_best):
        for parts, path in of_other.items():
            if os.path.realpath(path) != os.path.realpath(of_best[parts]):
                choices = (format_override("data.images", str(rule.folder)) for rule in (best, other))
                raise ArgumentError(
                    f"images: {'/'.join(parts)} of {source} may be {of_best[parts]} or {path}; give the folder of the "
                    f"images by {' or '.join(choices)}"
                )


def _raise_doubled(found: Mapping[Parts, str], source: str) -> None:
    by_path: dict[str, Parts] = {}
    for parts, path in found.items():
        other = by_path.setdefault(path, parts)
        if other != parts:
            raise ArgumentError(
                f"images: {'/'.join(other)} and {'/'.join(parts)} of {source} would both be {path}; put the images "
                f"into the folders that the file names, and give the folder of these by data.images="
            )
