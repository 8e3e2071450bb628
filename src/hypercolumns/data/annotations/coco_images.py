"""Find the image files of a COCO file, and give them ids."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from hypercolumns.data.annotations.coco_file import CocoFile
from hypercolumns.data.annotations.coco_layout import image_folders, other_image_folders
from hypercolumns.data.annotations.image_rule import ImageRule, Parts, choose_rule, split_path
from hypercolumns.data.annotations.label_studio_images import UPLOAD_PREFIX
from hypercolumns.errors import ArgumentError, shorten_list


def locate_images(
    file: CocoFile, images: Path | None, root: Path | None
) -> tuple[Path, dict[object, tuple[str, Path]]]:
    """Find the image files of a COCO file.

    Args:
        file: the content of the COCO file.
        images: the folder of images that the user names; None: it is searched.
        root: the folder of the data set; None: only folders beside the COCO file are searched.

    Returns:
        The folder of the images; and the text id of each image and its file, by its id in the COCO file. The text id
        is the path in the folder without suffix, or with it if several images differ only in their suffixes.

    Raises:
        ArgumentError: if none of the images exists, if it is not certain which files they are, or if an image is listed
            twice.
    """
    places = image_folders(file.path, images)
    names = {entry["id"]: str(entry["file_name"]) for entry in file.images}
    parts = {id: split_path(name) for id, name in names.items()}
    nameless = [str(id) for id, of_image in parts.items() if not of_image]
    if nameless:
        raise ArgumentError(
            f"annotations={file.path} names no file for {len(nameless)} images (ids {shorten_list(nameless)}); write "
            f"the file_name of each image, or remove these images"
        )
    rule = _choose(list(parts.values()), places, file.path, images, root)
    if not rule.find(parts.values()) and (originals := _without_prefix(parts)):
        of_originals = _choose([*originals.values()], places, file.path, images, root)
        if len(of_originals.find(originals.values())) == len(originals):
            rule, parts = of_originals, originals
    paths = {id: rule.path(of_image) for id, of_image in parts.items()}
    if paths and not any(path.exists() for path in paths.values()):
        raise ArgumentError(
            f"images: none of the {len(paths)} images of {file.path} is in {shorten_list([*map(str, places)])}, such "
            f"as {next(iter(paths.values()))}; give the folder by data.images="
        )
    counts = Counter(map(str, paths.values()))
    doubled = [path for path, count in counts.items() if count > 1]
    if doubled:
        raise ArgumentError(
            f"annotations={file.path} lists images twice ({shorten_list(doubled)}); list each image once, with all of "
            f"its annotations"
        )
    ids = _text_ids({id: Path(*rule.rest(of_image)) for id, of_image in parts.items()})
    return rule.folder, {id: (ids[id], path) for id, path in paths.items()}


def _choose(
    names: Sequence[Parts], places: Sequence[Path], path: Path, images: Path | None, root: Path | None
) -> ImageRule:
    """Return the rule for folders of known names; or for others if these hold no image, and the user names none."""
    rule = choose_rule(names, places, str(path), images)
    if images is None and root is not None and not rule.find(names):
        return _rule_elsewhere(path, root, names) or rule
    return rule


def _without_prefix(names: Mapping[object, Parts]) -> dict[object, Parts] | None:
    """Return the names of images before Label Studio put a prefix before each; None if these are not its names."""
    originals = {
        id: (*parts[:-1], prefixed[1])
        for id, parts in names.items()
        if (prefixed := UPLOAD_PREFIX.fullmatch(parts[-1])) is not None
    }
    return originals if len({*originals.values()}) == len(names) else None


def _rule_elsewhere(path: Path, root: Path, names: Sequence[Parts]) -> ImageRule | None:
    """Return a rule that finds all images of a COCO file in folders that no known layout has; None without one.

    Raises:
        ArgumentError: if several folders hold all of them.
    """
    for places in other_image_folders(path, root):
        rule = choose_rule(names, places, str(path))
        if len(rule.find(names)) == len(set(names)):
            return rule
    return None


def _text_ids(paths: Mapping[object, Path]) -> dict[object, str]:
    """Return the paths without suffix, but with it where images such as `0.png` and `0.bmp` would be the same."""
    counts = Counter(path.with_suffix("") for path in paths.values())
    ids = {id: path if counts[path.with_suffix("")] > 1 else path.with_suffix("") for id, path in paths.items()}
    if len({*ids.values()}) < len(ids):  # another image is called 0.png.jpg
        ids = dict(paths)
    return {id: path.as_posix() for id, path in ids.items()}
