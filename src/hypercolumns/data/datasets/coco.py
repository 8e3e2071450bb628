"""Data sets whose annotations are COCO's JSON files."""

from collections.abc import Mapping
from pathlib import Path

from hypercolumns.data.annotations.classes import AnnotationClasses, annotation_classes
from hypercolumns.data.annotations.coco import coco_masks, decide_crowds
from hypercolumns.data.annotations.coco_file import CocoFile, read_coco
from hypercolumns.data.annotations.coco_images import locate_images
from hypercolumns.data.annotations.coco_layout import ALL, TASKS, find_annotations
from hypercolumns.data.annotations.empty import empty_notes
from hypercolumns.data.class_files import Classes, Colours
from hypercolumns.data.index import DatasetIndex, ImageMaskPair, make_index
from hypercolumns.data.splits import choose_splits
from hypercolumns.errors import ArgumentError, check_choice
from hypercolumns.io.files import base_folder, expand_path


def coco(
    root: str | Path | None = None,
    annotations: str | Path | None = None,
    val_annotations: str | Path | None = None,
    images: str | Path | None = None,
    masks: str | Path | None = None,
    classes: Classes | None = None,
    palette: Colours | None = None,
    name: str = "coco",
    task: str = "instances",
    unannotated: str = "background",
    crowds: str = "auto",
    overlaps: str = "order",
    orientation: str = "auto",
    empty: str = "background",
    train: str | Path | None = None,
    val: str | Path | None = None,
    val_fraction: float = 0.2,
    split_seed: int = 0,
) -> DatasetIndex:
    """Index the images of COCO files. Their masks are drawn when they are read.

    Args:
        root: the folder that holds the JSON files and the images, see `coco_layout.find_annotations`. Other paths are
            relative to it. None: the working directory; `annotations` is then required.
        annotations: the JSON file of the images, or of the train images if `val_annotations` is given.
        val_annotations: the JSON file of the val images.
        images: the folder of images. None: found by the name and the place of the JSON file.
        masks: the folder of the PNG files of panoptic segments. None: it has the name of the JSON file.
        classes: the names of categories, in the order of the classes, see `class_files.class_list`; all that objects
            have must be listed. None: the categories of the JSON file, in the order of their ids.
        palette: the classes' colours, see `class_files.class_list`.
        name: the name of the data set, and of the folder of its runs.
        task: `instances` or `panoptic`: which files in the folder `annotations` are read.
        unannotated: the class of pixels without an object; `void`: they are void.
        crowds: whether annotations with `iscrowd` 1 are void, see `annotations.coco.decide_crowds`.
        overlaps: `order`: objects lie over those before them in the file; `smaller_on_top`: over larger ones.
        orientation: on which form of an image with an EXIF orientation objects were drawn, see `drawn_form`.
        empty: `background`: an image without annotations has no objects; `unlabelled`: it is not annotated yet.
        train: a list of the images to train on, see `splits.choose_splits`; for a single JSON file.
        val: a list of the images to validate on, in the same way.
        val_fraction: the fraction of the images, in (0, 1), that a random split of a single JSON file assigns to val.
        split_seed: the seed of the random split.

    Returns:
        The index of both splits. Image files and segmentations are not checked.

    Raises:
        ArgumentError: if no JSON file is found, if one is invalid, if no image is found, or if another argument is
            invalid.
        HypercolumnsError: if a split is empty or lists an image twice, see `make_index`.
    """
    check_choice("task", task, TASKS)
    base = base_folder(root)
    unused: list[str] = []
    if annotations is not None:
        paths = {ALL if val_annotations is None else "train": base / expand_path("annotations", annotations)}
        if val_annotations is not None:
            paths["val"] = base / expand_path("val_annotations", val_annotations)
    elif root is None or val_annotations is not None:
        raise ArgumentError(
            "annotations=None must be a JSON file; give it, or data.root=<the folder of the JSON files and the images>"
        )
    else:
        paths, unused = find_annotations(base, task)
    image_folder = None if images is None else base / expand_path("images", images)
    files = {
        split: read_coco(path, "val_annotations" if split == "val" and val_annotations else "annotations")
        for split, path in paths.items()
    }
    names = [name for file in files.values() for name in (file.names.values() if classes is None else file.used())]
    decided = annotation_classes(names, " and ".join(map(str, paths.values())), classes, palette, unannotated)
    crowds_are_void, notes = decide_crowds(files.values(), crowds)
    pairs, folders = {}, {}
    for split, file in files.items():
        folder = file.path.with_suffix("") if masks is None else base / expand_path("masks", masks)
        folders[split], located = locate_images(file, image_folder, None if root is None else base)
        paths_of = {id: path for id, (_, path) in located.items()}
        drawn, mask_notes = coco_masks(file, decided, paths_of, crowds_are_void, overlaps, empty, folder, orientation)
        notes += mask_notes
        pairs[split] = [ImageMaskPair(text, path, drawn[id]) for id, (text, path) in located.items()]
    notes = [*unused, *(note for file in files.values() for note in file.notes), _note(decided, files), *notes]
    notes += _empty_note(files, empty)
    if ALL in pairs:
        by_id = {pair.id: pair for pair in pairs[ALL]}
        return make_index(
            name, decided.listed, choose_splits(by_id, folders[ALL], train, val, val_fraction, split_seed, base), notes
        )
    if train is not None or val is not None:
        raise ArgumentError(
            f"train={train} and val={val} split the images of one JSON file, but there is one for each split; leave "
            f"them out"
        )
    return make_index(name, decided.listed, _distinct(pairs), notes)


def _note(classes: AnnotationClasses, files: Mapping[str, CocoFile]) -> str:
    panoptic = any(file.masks for file in files.values())
    return classes.note.replace("an object", "a segment") if panoptic else classes.note


def _empty_note(files: Mapping[str, CocoFile], empty: str) -> list[str]:
    """Return a line about the images without annotations, if there are any."""
    of_images = [file.annotations[entry["id"]] for file in files.values() for entry in file.images]
    count = sum(not of_image for of_image in of_images)
    return [] if any(file.masks for file in files.values()) else empty_notes(count, len(of_images), empty)


def _distinct(pairs: Mapping[str, list[ImageMaskPair]]) -> dict[str, list[ImageMaskPair]]:
    """Give different images of train and val different ids, by the name of the split, if their files share names."""
    files: dict[str, Path] = {}
    for of_split in pairs.values():
        for pair in of_split:
            if files.setdefault(pair.id, pair.image) != pair.image:
                return {
                    split: [ImageMaskPair(f"{split}/{pair.id}", pair.image, pair.mask) for pair in of_split]
                    for split, of_split in pairs.items()
                }
    return dict(pairs)
