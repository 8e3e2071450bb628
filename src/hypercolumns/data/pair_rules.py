"""Find out from the paths of files alone how the masks of a folder belong to its images.

An image and its mask have a part of their paths in common. A rule says in which folders and by which additions to the
name they differ: `images/10k/train/a.jpg` and `labels/masks/train/a.png` differ in `images/10k` and `labels/masks`.
"""

import math
import re
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from difflib import SequenceMatcher
from functools import cached_property, lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from hypercolumns.data.layout import splits_of
from hypercolumns.io.files import walk_files
from hypercolumns.io.images import SUFFIXES

LOOKED_AT = (*SUFFIXES, ".gif")  # some masks are GIF files, which are refused later
MASK_WORDS = ("mask", "label", "seg", "annot", "truth", "target", "lbl")  # in the names of folders and files of masks
MASK_TOKENS = ("gt", "ann", "anns", "l", "y")  # the same, as whole words
# Pictures of masks that Supervisely and labelme write for people beside the masks.
FOR_PEOPLE = {"masks_human", "segmentationclassvisualization"}
PROBES = 5  # names of a folder whose nearest names in another folder show what may be added
SAMPLE = 100  # names of a folder that are looked up in another one
MAX_FOLDERS = 40  # up to this number, each folder is compared with all others
MAX_MASK_COLOURS = 100  # in one mask; a photograph or a depth map has more
COUNTED = 1 << 17  # pixels of a file whose colours are counted

Parts = tuple[str, ...]  # names of nested folders


class Side(NamedTuple):
    """What the paths of images have that those of masks lack, or the other way round.

    Attributes:
        folders: the folders that only these paths have.
        before: the beginning of the file name, before the part in common.
        after: its end, before the suffix.
        suffix: the suffix, if only the suffix tells images from masks; otherwise "".
    """

    folders: Parts
    before: str
    after: str
    suffix: str


@dataclass(frozen=True, eq=False)
class Group:
    """The files in one folder with one suffix.

    Attributes:
        folder: the folder.
        suffix: the suffix, in small letters.
        paths: the files, by their names without suffix.
    """

    folder: Parts
    suffix: str
    paths: dict[str, Path] = field(default_factory=dict)

    @cached_property
    def ordered(self) -> list[str]:
        """The names in alphabetical order."""
        return sorted(self.paths)

    @cached_property
    def ordered_backwards(self) -> list[str]:
        """The names, each written backwards, in alphabetical order."""
        return sorted(name[::-1] for name in self.paths)

    def some(self, number: int) -> list[str]:
        """Return about as many names, from all over the alphabet."""
        return self.ordered[:: max(len(self.ordered) // number, 1)]


@dataclass(frozen=True)
class PairRule:
    """A rule by which masks belong to images.

    Attributes:
        image: what is special to the paths of images.
        mask: what is special to the paths of masks.
        places: the folders above and below the folders in which the paths differ, of each folder with such pairs.
        pairs: the paths of some images and of their masks.
    """

    image: Side
    mask: Side
    places: tuple[tuple[Parts, Parts], ...]
    pairs: tuple[tuple[Path, Path], ...]

    def files(self) -> set[Path]:
        """Return all files in `pairs`."""
        return {path for pair in self.pairs for path in pair}

    def is_likely(self) -> bool:
        """Whether the rule may be meant: it neither fits one pair by chance, nor pairs images of train with test's."""
        additions = (self.image.before, self.image.after, self.mask.before, self.mask.after)
        of_image, of_mask = splits_of(self.image.folders), splits_of(self.mask.folders)
        return (len(self.pairs) > 1 or not any(additions)) and not (of_image and of_mask and of_image != of_mask)


def find_rules(root: Path) -> list[list[PairRule]]:
    """Find the rules by which masks in a folder belong to images.

    Args:
        root: the folder. Its subfolders are searched too.

    Returns:
        The rules that explain the most pairs by the fewest differences; several are equally good if the images have
        several kinds of masks. Then, in the same way, the rules of the files that these do not pair.
    """
    groups: dict[tuple[Path, str], Group] = {}
    for path in pictures(root):
        suffix = path.suffix.lower()
        if (path.parent, suffix) not in groups:
            groups[path.parent, suffix] = Group(path.parent.relative_to(root).parts, suffix)
        groups[path.parent, suffix].paths[path.stem] = path
    found: dict[tuple[Side, Side], list[tuple[tuple[Parts, Parts], list[tuple[Path, Path]]]]] = defaultdict(list)
    for one, other in _comparisons(list(groups.values())):
        pair = _compare(one, other)
        if pair is not None:
            sides, place, examples = pair
            found[sides].append((place, examples))
    rules = []
    for (first, second), listed in found.items():
        pairs = [pair for _, of_place in listed for pair in of_place]
        places = tuple(place for place, _ in listed)
        match _second_is_mask(first, second, pairs[0]):
            case True:
                rules.append(PairRule(first, second, places, tuple(pairs)))
            case False:
                rules.append(PairRule(second, first, places, tuple((image, mask) for mask, image in pairs)))
    rules = [rule for rule in rules if rule.is_likely()]
    sets = []
    while rules:
        best = _best(rules)
        sets.append(best)
        paired = {path for rule in best for path in rule.files()}
        rules = [rule for rule in rules if not paired & rule.files()]
    return sets


def pictures(root: Path) -> Iterator[Path]:
    """Yield all files in a folder that can be images or masks, by their suffixes, without pictures of masks."""
    for path in walk_files(root):
        folders = {folder.lower() for folder in path.relative_to(root).parts[:-1]}
        if path.suffix.lower() in LOOKED_AT and not folders & FOR_PEOPLE:
            yield path


def _best(rules: Sequence[PairRule]) -> list[PairRule]:
    """Return the best rule and those that pair the same files as well as it, of rules whose images are no masks."""
    masks = {mask for rule in rules for _, mask in rule.pairs}
    left = [rule for rule in rules if rule.pairs[0][0] not in masks] or list(rules)

    def cost(rule: PairRule) -> tuple[int, int]:
        return -len(rule.pairs), len(rule.image.folders) + len(rule.mask.folders)

    first = min(left, key=cost)
    return [rule for rule in left if cost(rule) == cost(first) and rule.files() & first.files()]


def _comparisons(groups: Sequence[Group]) -> Iterator[tuple[Group, Group]]:
    """Yield the groups that are compared: all, or if there are many, only those with related folders."""
    order = {group: number for number, group in enumerate(groups)}
    if len(groups) <= MAX_FOLDERS:
        yield from ((one, other) for one in groups for other in groups if order[one] <= order[other])
        return
    related: dict[tuple[str, Parts], list[Group]] = defaultdict(list)
    for group in groups:
        related["in one folder", group.folder[:-1]].append(group)
        for start in range(1, len(group.folder)):
            related["same end", group.folder[start:]].append(group)
    seen = set()
    for near in related.values():
        for one in near[:MAX_FOLDERS]:
            for other in near[:MAX_FOLDERS]:
                if order[one] <= order[other] and (one, other) not in seen:
                    seen.add((one, other))
                    yield one, other


def _compare(one: Group, other: Group) -> tuple[tuple[Side, Side], tuple[Parts, Parts], list[tuple[Path, Path]]] | None:
    """Return how the files of two groups differ, where, and some pairs; None if they are no pairs."""
    if len(one.paths) < len(other.paths):  # the larger group comes first, as it may have files without a partner
        turned = _compare(other, one)
        return turned and (turned[0][::-1], turned[1], [pair[::-1] for pair in turned[2]])
    sample = other.some(SAMPLE)
    best: tuple[tuple[str, str, str, str], list[tuple[Path, Path]]] | None = None
    for additions in dict.fromkeys(_additions(near, name) for name, near in _neighbours(other, one)):
        if additions is None or (one is other and additions[:2] == additions[2:]):
            continue
        pairs = [
            (one.paths[partner], other.paths[name])
            for name in sample
            if (partner := _partner(name, additions)) in one.paths and one.paths[partner] != other.paths[name]
        ]
        if best is None or len(pairs) > len(best[1]):
            best = additions, pairs
    # in one folder, half of the names are those of masks; elsewhere, a name that contains another by chance is rare
    if best is None or len(best[1]) * 3 <= len(sample) * (1 if one is other else 2):
        return None
    (before, after, other_before, other_after), pairs = best
    above, below = _in_common(one.folder, other.folder)
    inside, other_inside = (group.folder[len(above) : len(group.folder) - len(below)] for group in (one, other))
    same_names = (before, after) == (other_before, other_after)
    suffixes = (one.suffix, other.suffix) if one.folder == other.folder and same_names else ("", "")
    sides = Side(inside, before, after, suffixes[0]), Side(other_inside, other_before, other_after, suffixes[1])
    return sides, (above, below), pairs


def _in_common(one: Parts, other: Parts) -> tuple[Parts, Parts]:
    """Return the folders at the beginning and at the end that two paths have in common."""
    if one == other:
        return (), one
    start = next((i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))
    left, right = one[start:][::-1], other[start:][::-1]
    end = next((i for i, (a, b) in enumerate(zip(left, right, strict=False)) if a != b), min(len(left), len(right)))
    return one[:start], one[len(one) - end :]


def _neighbours(group: Group, candidates: Group) -> Iterator[tuple[str, str]]:
    """Yield some names of a group, each with candidates that begin or end similarly."""
    for name in group.some(PROBES):
        for listed, turn in ((candidates.ordered, 1), (candidates.ordered_backwards, -1)):
            place = bisect_left(listed, name[::turn])
            for near in listed[max(place - 1, 0) : place + 2]:
                yield name, near[::turn]


def _additions(name: str, other: str) -> tuple[str, str, str, str] | None:
    """Return what two names have before and after their longest common part; None if they have none in common."""
    if name == other:
        return "", "", "", ""
    match = SequenceMatcher(None, name, other, autojunk=False).find_longest_match()
    start, end = match.a, match.a + match.size
    other_start, other_end = match.b, match.b + match.size
    # sat and seg begin alike, but this letter is not of the name that they share
    while end > start and end < len(name) and other_end < len(other) and not name[end - 1].isdigit():
        end, other_end = end - 1, other_end - 1
        if not name[end].isalpha():
            break
    while start < end and start > 0 and other_start > 0 and not name[start].isdigit():
        start, other_start = start + 1, other_start + 1
        if not name[start - 1].isalpha():
            break
    if start == end:
        return None
    return name[:start], name[end:], other[:other_start], other[other_end:]


def _partner(name: str, additions: tuple[str, str, str, str]) -> str:
    """Return the name that belongs to the name of another group, whose additions are the last two; "" if none does."""
    before, after, other_before, other_after = additions
    if len(name) <= len(other_before + other_after) or not name.startswith(other_before):
        return ""
    if not name.endswith(other_after):
        return ""
    return f"{before}{name[len(other_before) : len(name) - len(other_after)]}{after}"


def _second_is_mask(first: Side, second: Side, example: tuple[Path, Path]) -> bool | None:
    """Return whether the second of two files is the mask of the first; None if neither names nor pixels tell."""
    named = [_has_mask_word(side) for side in (first, second)]
    if named[0] != named[1]:
        return named[1]
    one, other = map(_colours, example)
    if min(one, other) <= MAX_MASK_COLOURS and max(one, other) > 4 * min(one, other):
        return other < one
    lossy = [path.suffix.lower() in (".jpg", ".jpeg") for path in example]
    return lossy[0] if lossy[0] != lossy[1] and first.suffix else None


def _has_mask_word(side: Side) -> bool:
    text = "/".join([*side.folders, side.before, side.after]).lower()
    return any(word in text for word in MASK_WORDS) or bool({*re.split("[^a-z]+", text)} & {*MASK_TOKENS})


def _colours(path: Path) -> int:
    """Return the number of different colours or values in a file; a large number if it can't be read."""
    return _count_colours(path, path.stat().st_mtime_ns)


@lru_cache(maxsize=10_000)  # a file is in many pairs if the names of unrelated files differ in little
def _count_colours(path: Path, modified: int) -> int:
    """Count the colours of a file, as it was at the time `modified`, on a grid of at most about `COUNTED` pixels."""
    try:
        with Image.open(path) as image:
            pixels = np.asarray(image)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return 1 << 24
    step = math.isqrt(pixels.shape[0] * pixels.shape[1] // COUNTED) + 1
    pixels = pixels[::step, ::step]
    flat = pixels.reshape(-1, pixels.shape[2]) if pixels.ndim == 3 else pixels.reshape(-1, 1)
    return len(np.unique(flat, axis=0))
