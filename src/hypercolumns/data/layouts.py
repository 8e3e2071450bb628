"""Recognise the layout of a folder of images and masks, as tools and data sets lay their files out."""

from pathlib import Path
from typing import Any

from hypercolumns.data.layout import MAX_LOOKED_AT, SPLITS, Layout, folder_named, list_files, list_folders, walk
from hypercolumns.data.named_layouts import coco_layout, named_set, sbd_layout
from hypercolumns.data.other_formats import misleading_format, other_format
from hypercolumns.data.pairing import ID, MASK_SUFFIXES, suggest_mask_name
from hypercolumns.data.voc_layout import voc_layout
from hypercolumns.errors import ArgumentError
from hypercolumns.io.files import glob_files
from hypercolumns.io.images import SUFFIXES

IMAGE_FOLDERS = ("images", "image", "imgs", "img", "jpegimages", "photos", "pictures", "input", "inputs", "x")
MASK_FOLDERS = (
    *("masks", "mask", "labels", "label", "annotations", "annotation", "masks_machine", "segmentation", "gt"),
    *("ground_truth", "groundtruth", "segmentationclass", "targets", "target", "y"),
)
CLASS_FILES = (
    *("labelmap.txt", "label_colors.txt", "_classes.csv", "class_dict.csv", "dataset_meta.json"),
    *("obj_class_to_machine_color.json", "id2label.json", "class_names.txt", "classes.txt", "labels.txt", "codes.txt"),
)
PAIRED_ENDS = ("annot", "_annot", "_labels", "_label", "_masks", "_mask", "_annotations")
MAX_JSON_BYTES = 1 << 16  # a JSON file is recognised by its first bytes


def recognise(root: Path) -> Layout:
    """Recognise the layout of the files in a folder.

    Args:
        root: the folder.

    Returns:
        The layout, with all settings except the classes.

    Raises:
        ArgumentError: if the folder does not exist, or its layout is not known. The message says what was looked for.
    """
    if not root.is_dir():
        raise ArgumentError(f"root={root} is not a folder; give the folder of the data set")
    misleading = misleading_format(root)
    if misleading is not None:
        raise ArgumentError(f"root={root} has masks that are not read: {misleading}")
    for look in (
        voc_layout,
        sbd_layout,
        coco_layout,
        named_set,
        _side_by_side,
        _split_folders,
        _paired_folders,
        _beside,
        _json,
    ):
        layout = look(root)
        if layout is not None:
            return layout
    other = other_format(root)
    if other is not None:
        raise ArgumentError(f"root={root} has no annotations that are read: {other}")
    folders = ", ".join(sorted(path.name for path in list_folders(root))[:10]) or "no folders"
    raise ArgumentError(
        f"root={root} has no known layout (it holds {folders}); known are Pascal VOC's, folders of images and of masks "
        f"(such as images and masks, with or without train and val), masks beside the images (such as 1.jpg and "
        f"1_mask.png), and JSON files of COCO, labelme and Label Studio; say where the files are by data=folder "
        f"data.images=FOLDER data.masks=FOLDER"
    )


def find_class_file(root: Path) -> Path | None:
    """Return the file that lists the classes in a folder or in its folder of train images; None if there is none."""
    places = [root, *(folder for folder in list_folders(root) if folder.name.lower() in SPLITS[0])]
    return next((place / name for name in CLASS_FILES for place in places if (place / name).is_file()), None)


def _json(root: Path) -> Layout | None:
    """Annotations of COCO, labelme or Label Studio in JSON files."""
    for path in glob_files(root, "*.json", "*/*.json")[:MAX_LOOKED_AT]:
        if path.name in CLASS_FILES:
            continue
        kind = json_kind(path)
        if kind == "labelme":
            return Layout("labelme's JSON files", kind, {"images": path.parent})
        if kind == "coco":
            return Layout("COCO's JSON", kind, {"root": root})
        if kind == "label_studio":
            return Layout("Label Studio's JSON", kind, {"annotations": path, "images": root})
    return None


def json_kind(path: Path) -> str | None:
    """Return `coco`, `labelme` or `label_studio`: the kind of annotations in a JSON file; None for other files."""
    try:
        with path.open(encoding="utf-8-sig") as file:
            start = file.read(MAX_JSON_BYTES)
    except (OSError, UnicodeDecodeError):
        return None
    keys = {
        name for name in ("shapes", "imagePath", "annotations", "images", "categories", "data") if f'"{name}"' in start
    }
    if {"shapes", "imagePath"} <= keys:
        return "labelme"
    if start.lstrip().startswith("[") and {"annotations", "data"} <= keys:
        return "label_studio"
    if start.lstrip().startswith("{") and "images" in keys and keys & {"annotations", "categories"}:
        return "coco"
    if len(start) < MAX_JSON_BYTES and start.lstrip().startswith("{"):
        return None
    return "coco" if start.lstrip().startswith("{") and '"file_name"' in start else None


def _side_by_side(root: Path) -> Layout | None:
    """A folder of images and one of masks, with or without folders for train and val in each."""
    images, masks = folder_named(root, IMAGE_FOLDERS), _mask_folder(root)
    if images is None or masks is None:
        return None
    splits = [folder_named(images, names) for names in SPLITS]
    settings: dict[str, Any] = {}
    if all(split is not None and (masks / split.name).is_dir() for split in splits):
        settings = {name: split.name for name, split in zip(("train", "val"), splits, strict=True) if split is not None}
    elif splits[0] is not None and (masks / splits[0].name).is_dir():
        # other folders, such as test, are no train images
        images, masks = images / splits[0].name, masks / splits[0].name
    settings = {"images": images, "masks": masks, **_mask_name(images, masks), **settings}
    return Layout(f"the folders {images.name} and {masks.name}", "folder", settings)


def _split_folders(root: Path) -> Layout | None:
    """Folders, each with images and masks; some may be those of train and val."""
    train, val = (folder_named(root, names) for names in SPLITS)
    splits = {"train": train.name, "val": val.name} if train is not None and val is not None else {}
    if train is not None and val is None:  # other folders, such as test, are no train images
        return _side_by_side(train) or _beside(train)
    for place in [train] if train is not None else list_folders(root):
        images, masks = folder_named(place, IMAGE_FOLDERS), _mask_folder(place)
        if images is not None and masks is not None:
            pattern = _mask_name(images, masks).get("mask_name", f"{ID}.*")
            settings = {
                **{"root": root, "images": ".", "masks": "."},
                **{"image_name": f"{images.name}/{ID}.*", "mask_name": f"{masks.name}/{pattern}", **splits},
            }
            return Layout(f"folders with {images.name} and {masks.name} in each", "folder", settings)
        if train is not None and (beside := _beside(place)) is not None:
            settings = {**beside.settings, "images": root, "masks": root, **splits}
            return Layout("folders with masks beside the images", "folder", settings)
    return None


def _paired_folders(root: Path) -> Layout | None:
    """Folders of images, and for each a folder of masks with a longer name, as SegNet's train and trainannot."""
    by_name = {path.name: path for path in list_folders(root)}
    pairs = {name: name + end for name in by_name for end in PAIRED_ENDS if name + end in by_name}
    if not pairs:
        return None
    what = "the folders " + ", ".join(f"{images} and {masks}" for images, masks in pairs.items())
    lists = {
        split: [path for name in names for path in glob_files(root, f"{name}.txt")]
        for split, names in zip(("train", "val"), SPLITS, strict=True)
    }
    if all(len(paths) == 1 for paths in lists.values()):
        settings = {"root": root, "images": ".", "masks": ".", **{split: paths[0] for split, paths in lists.items()}}
        return Layout(f"{what}, with lists of pairs", "folder", settings)
    images, masks = next(((root / images, root / masks) for images, masks in pairs.items()))
    if len(pairs) == 1:
        return Layout(what, "folder", {"images": images, "masks": masks, **_mask_name(images, masks)})
    train = next((name for name in pairs if name.lower() in SPLITS[0]), next(iter(pairs)))
    words = {"images": root / train, "masks": root / pairs[train], **_mask_name(root / train, root / pairs[train])}
    raise ArgumentError(
        f"root={root} has {what}, but no lists; read one pair of them, with a random part as val, by "
        f"{Layout(what, 'folder', words).overrides()}, or list the paths of an image and of its mask on each line of "
        f"{root / 'train.txt'} and {root / 'val.txt'}"
    )


def _beside(root: Path) -> Layout | None:
    """Images and masks in one folder, told apart by their names or suffixes."""
    files = [path for path in list_files(root) if path.suffix.lower() in SUFFIXES]
    stems = {path.stem for path in files}
    for path in files:
        inside = [stem for stem in stems if stem in path.stem and stem != path.stem]
        if not inside or path.suffix.lower() not in MASK_SUFFIXES:
            continue
        pattern = path.stem.replace(max(inside, key=len), ID, 1)
        with_mask = {stem for stem in stems if pattern.replace(ID, stem) in stems}
        if 3 * len(with_mask) > len(stems):  # a name that contains another one by chance does not recur
            settings = {"images": root, "masks": root, "mask_name": f"{pattern}{path.suffix}"}
            suffixes = {other.suffix.lower() for other in files if other.stem in with_mask}
            return Layout(
                "masks beside the images",
                "folder",
                settings | ({"image_name": f"{ID}{suffixes.pop()}"} if len(suffixes) == 1 else {}),
            )
    by_suffix: dict[str, set[str]] = {}
    for path in files:
        by_suffix.setdefault(path.suffix.lower(), set()).add(path.stem)
    images = next((suffix for suffix in (".jpg", ".jpeg") if suffix in by_suffix), None)
    if images and by_suffix.get(".png", set()) & by_suffix[images]:
        settings = {"images": root, "masks": root, "image_name": f"{ID}{images}", "mask_name": f"{ID}.png"}
        return Layout("masks beside the images", "folder", settings)
    return None


def _mask_name(images: Path, masks: Path) -> dict[str, str]:
    """Return the setting `mask_name` if masks have longer names than their images; {} if they have the same names."""
    stems = {path.stem for path in walk(images) if path.suffix.lower() in SUFFIXES}
    mask_stems = {path.stem for path in walk(masks) if path.suffix.lower() in MASK_SUFFIXES}
    if not stems or stems & mask_stems:
        return {}
    pattern = suggest_mask_name(masks, stems)
    return {"mask_name": pattern} if pattern else {}


def _mask_folder(folder: Path) -> Path | None:
    """Return the folder of masks inside `folder`. A folder of this name may also hold other files, such as COCO's."""
    found = folder_named(folder, MASK_FOLDERS)
    holds_masks = found is not None and any(path.suffix.lower() in MASK_SUFFIXES for path in walk(found))
    return found if holds_masks else None
