"""Recognise images and masks whose paths differ by a rule, and say the rule by the settings of `data=folder`."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import takewhile
from pathlib import Path
from typing import Any

from hypercolumns.data.class_files import read_ids
from hypercolumns.data.layout import SPLITS, TEST, Layout, has_word
from hypercolumns.data.pair_rules import PairRule, Parts, Side, find_rules
from hypercolumns.data.pairing import ID, MASK_SUFFIXES, image_files
from hypercolumns.errors import ArgumentError
from hypercolumns.io.files import glob_files

KIND = "folder"


def paired_layout(root: Path) -> Layout | None:
    """Recognise images and masks whose paths differ by a rule; None if there are none.

    Raises:
        ArgumentError: if several files could be the masks of the images, if there are several sets of images and masks
            and their names do not tell train and val, if the masks are of a form that is not read, if no settings say
            the rule, or if lists of train and val do not fit the images.
    """
    sets = find_rules(root)
    for rules in sets:
        if len(rules) > 1:
            raise ArgumentError(
                f"root={root} has several files that could be the images or the masks; choose by "
                f"{_choices(_of_rule(root, rule) for rule in rules)}. If each mask holds one class, write them to one "
                f"file for each image"
            )
    layouts = {rule: _of_rule(root, rule) for (rule,) in sets}
    used = [rule for rule in layouts if not _has_word(root, rule, TEST)] or [*layouts]
    if len(used) < 2:
        return _with_lists(root, layouts[used[0]]) if used else None
    of_split = [[rule for rule in used if _has_word(root, rule, names)] for names in SPLITS]
    if len(used) == 2 and [len(rules) for rules in of_split] == [1, 1]:
        both = _in_two_trees(*(layouts[rules[0]] for rules in of_split))
        if both is not None:
            return both
    raise ArgumentError(
        f"root={root} has several sets of images and masks; choose one by {_choices(layouts[rule] for rule in used)}; "
        f"or name the images and masks of val by data.val_images and data.val_masks"
    )


def _choices(layouts: Iterable[Layout]) -> str:
    return "; or ".join(layout.overrides() for layout in layouts)


def _has_word(root: Path, rule: PairRule, words: Sequence[str]) -> bool:
    folders = rule.pairs[0][0].relative_to(root).parts[:-1]
    return any(has_word(folder, words) for folder in folders)


def _in_two_trees(train: Layout, val: Layout) -> Layout | None:
    """Return the layout of train and val in folders of their own; None if no settings say it."""
    folders = ("images", "masks")
    names, val_names = (
        {name: value for name, value in layout.settings.items() if name not in folders} for layout in (train, val)
    )
    if names != val_names or {*names} - {"image_name", "mask_name"}:
        return None
    of_val = {f"val_{name}": val.settings[name] for name in folders}
    return replace(train, what=f"{train.what} of train, and {val.what} of val", settings=train.settings | of_val)


def _of_rule(root: Path, rule: PairRule) -> Layout:
    """Return the layout of one rule.

    Raises:
        ArgumentError: if the masks are of a form that is not read, or no settings say the rule.
    """
    image, mask = rule.pairs[0]
    if mask.suffix.lower() not in MASK_SUFFIXES:
        raise ArgumentError(
            f"root={root}: {mask} seems to be the mask of {image}, but masks must be PNG, TIFF or BMP files; save them "
            f"as PNG, and if they were JPEG files, set each pixel to the nearest label first"
        )
    at_top = len({above for above, _ in rule.places}) == 1
    varying = [below if at_top else above for above, below in rule.places]
    if not at_top and any(below for _, below in rule.places):
        raise ArgumentError(_unsaid(root, rule))
    varying, splits = _choose_folders(root, rule, varying)
    shared = Path(*(parts[0] for parts in takewhile(_all_equal, zip(*varying, strict=False))))
    settings: dict[str, Any]
    if at_top or len(varying) == 1:
        base = root.joinpath(*rule.places[0][0]) if at_top else root / shared
        inside = shared if at_top else Path()
        settings = {
            "images": base.joinpath(*rule.image.folders) / inside,
            "masks": base.joinpath(*rule.mask.folders) / inside,
        }
        names = {"image_name": rule.image._replace(folders=()), "mask_name": rule.mask._replace(folders=())}
    else:
        settings = {"root": root / shared, "images": ".", "masks": "."}
        names = {"image_name": rule.image, "mask_name": rule.mask}
    beside = rule.image.folders == rule.mask.folders
    if beside and not rule.image.suffix and len({path.suffix for path, _ in rule.pairs}) == 1:
        names["image_name"] = rule.image._replace(suffix=image.suffix.lower())
    patterns = {name: _pattern(side) for name, side in names.items()}
    settings |= {name: pattern for name, pattern in patterns.items() if pattern != f"{ID}.*"} | splits
    if beside:
        what = "masks beside the images"
    else:
        what = f"the folders {Path(*rule.image.folders)} and {Path(*rule.mask.folders)}"
    return Layout(what if at_top else f"{what}, in each of several folders", KIND, settings, whole=True)


def _unsaid(root: Path, rule: PairRule) -> str:
    image, mask = rule.pairs[0]
    return (
        f"root={root} has images and masks such as {image} and {mask}, but no settings say where all are; list the "
        f"paths of an image and of its mask on each line of two files, and give data=folder data.root={root} "
        f"data.train=FILE data.val=FILE"
    )


def _choose_folders(root: Path, rule: PairRule, varying: list[Parts]) -> tuple[list[Parts], dict[str, str]]:
    """Choose the folders of train and val, or the one that is not test, from those that hold images and masks.

    Returns:
        The folders, and the settings that name those of train and val.

    Raises:
        ArgumentError: if images of test can't be left out by settings.
    """
    kept = [parts for parts in varying if not (parts and has_word(parts[0], TEST))] or varying
    folders = {parts[0] for parts in kept if parts}
    of_split = [[folder for folder in folders if has_word(folder, names)] for names in SPLITS]
    if [len(found) for found in of_split] == [1, 1]:
        return varying, {"train": of_split[0][0], "val": of_split[1][0]}
    if len(of_split[0]) == 1 and len(folders) > 1 and not of_split[1]:
        kept = [parts for parts in kept if parts[:1] == (of_split[0][0],)]
    elif len(kept) < len(varying) and len({parts[:1] for parts in kept}) > 1:
        raise ArgumentError(_unsaid(root, rule))
    return kept, {}


def _with_lists(root: Path, layout: Layout) -> Layout:
    """Add the lists of train and val that lie in the folder.

    Raises:
        ArgumentError: if there are lists of the images, but not one of train and one of val that fit the images.
    """
    lists = [
        [path for name in names for path in glob_files(root, f"{name}.txt", f"*/{name}.txt")]
        for names in (*SPLITS, TEST)
    ]
    paths = [path for of_split in lists for path in of_split]
    if not paths or {"train", "val_images"} & {*layout.settings}:
        return layout
    images = root / layout.settings.get("root", "") / layout.settings["images"]
    ids = {*image_files(images, layout.settings.get("image_name", f"{ID}.*"))}
    names = {Path(id).name for id in ids}
    fits = {path: _listed(path) for path in paths}
    if [len(of_split) for of_split in lists[:2]] == [1, 1] and all({*fits[p]} <= ids for p in paths[:2]):
        train, val = paths[:2]
        return replace(layout, settings=layout.settings | {"train": train, "val": val})
    about = [path for path, listed in fits.items() if any(Path(line.split()[0]).stem in names for line in listed)]
    if not about:
        return layout
    raise ArgumentError(
        f"root={root} has {layout.what}, and lists of images ({', '.join(str(path) for path in about)}), which do not "
        f"name the images of train and of val by their paths below {images} without suffix; give the two lists, or "
        f"leave out both for a random split: {layout.overrides()} data.train={about[0]} data.val=LIST"
    )


def _listed(path: Path) -> list[str]:
    try:
        return read_ids(path, "train")
    except ArgumentError:  # another text
        return []


def _all_equal(names: tuple[str, ...]) -> bool:
    return len({*names}) == 1


def _pattern(side: Side) -> str:
    return "/".join([*side.folders, f"{side.before}{ID}{side.after}{side.suffix or '.*'}"])
