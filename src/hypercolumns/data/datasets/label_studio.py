"""Data sets that are annotated in Label Studio, with one exported file for all images."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from hypercolumns.data.annotations.classes import annotation_classes
from hypercolumns.data.annotations.coco_shapes import LIBRARY
from hypercolumns.data.annotations.drawn_mask import drawn_mask, not_annotated
from hypercolumns.data.annotations.empty import empty_notes, is_annotated
from hypercolumns.data.annotations.label_studio import (
    LabelStudioTask,
    draw_region,
    is_brush,
    read_label_studio,
    region_box,
)
from hypercolumns.data.annotations.label_studio_images import find_images
from hypercolumns.data.annotations.outside import OutsideCount
from hypercolumns.data.class_files import Classes, Colours
from hypercolumns.data.index import DatasetIndex, ImageMaskPair, make_index
from hypercolumns.data.pairing import image_files
from hypercolumns.data.splits import choose_splits
from hypercolumns.errors import ArgumentError, DataNotFoundError, shorten_list
from hypercolumns.io.files import base_folder, existing_folder, expand_path


def label_studio(
    annotations: str | Path | None,
    images: str | Path | None,
    root: str | Path | None = None,
    classes: Classes | None = None,
    palette: Colours | None = None,
    name: str = "label_studio",
    unannotated: str = "background",
    overlaps: str = "order",
    orientation: str = "auto",
    empty: str = "background",
    several: str = "error",
    image_field: str | None = None,
    train: str | Path | None = None,
    val: str | Path | None = None,
    val_fraction: float = 0.2,
    split_seed: int = 0,
) -> DatasetIndex:
    """Index a folder of images and Label Studio's export of their annotations. Masks are drawn when they are read.

    Args:
        annotations: the export, in the format JSON or JSON_MIN.
        images: the folder of images, searched with its subfolders.
        root: the folder that the other paths are relative to; None: the working directory.
        classes: the labels, in the order of the classes, see `class_files.class_list`. None: all labels that the export
            has, in the order of the alphabet.
        palette: the classes' colours, see `class_files.class_list`.
        name: the name of the data set, and of the folder of its runs.
        unannotated: the class of pixels without a region; `void`: they are void.
        overlaps: `order`: regions lie over those before them in the file; `smaller_on_top`: over larger ones.
        orientation: on which form of an image with an EXIF orientation regions were drawn, see `drawn_form`.
        empty: `background`: an image with an annotation without regions has no objects; `unlabelled`: it is not
            annotated yet.
        several: what to do with tasks of several annotations, see `annotations.label_studio.read_label_studio`.
        image_field: the field of a task that names its image. None: the field of the name that the regions point to, or
            else the only field that names image files.
        train: a list of the images to train on, see `splits.choose_splits`.
        val: a list of the images to validate on, in the same way.
        val_fraction: the fraction of the images, in (0, 1), that a random split assigns to val.
        split_seed: the seed of the random split.

    Returns:
        The index of both splits. An image is not annotated if it has no task, or its task has no annotation that was
        submitted. Regions are not checked.

    Raises:
        ArgumentError: if the export or the folder can't be read, if no or several images fit a task, or if another
            argument is invalid.
        HypercolumnsError: if a split is empty or lists an invalid id, see `make_index`.
    """
    if annotations is None or images is None:
        missing = "annotations" if annotations is None else "images"
        raise DataNotFoundError(
            f"{missing} is not set; the data set needs annotations (the exported file) and images (a folder)"
        )
    base = base_folder(root)
    export, folder = base / expand_path("annotations", annotations), existing_folder("images", images, base)
    tasks, task_notes = read_label_studio(export, several, image_field)
    labels = sorted({label for task in tasks for label, _ in task.regions or ()})
    decided = annotation_classes(labels, str(export), classes, palette, unannotated)
    found = image_files(folder, "{id}.*")
    of_image = _match(tasks, found, export, folder)
    pairs = {}
    count = OutsideCount(region_box)
    for id, path in found.items():
        task = of_image.get(id)
        if task is None or task.regions is None:
            mask = not_annotated(export, path, draw_region, decided.fill)
        else:
            objects = [(decided.values[label], described) for label, described in task.regions]
            mask = drawn_mask(
                *(export, path, task.shape, objects, draw_region, decided.fill, overlaps),
                annotated=is_annotated(len(objects), empty),
                orientation=orientation,
                layers=task.layers,
                library="" if all(is_brush(described) for _, described in objects) else LIBRARY,
            )
            count.add(mask, (described for _, described in objects))
        pairs[id] = ImageMaskPair(id, path, mask)
    notes = [decided.note, *task_notes, *count.notes(str(export))]
    without_regions = sum(task.regions == () for task in tasks)
    notes += empty_notes(without_regions, len(tasks), empty, "an annotation without regions")
    if classes is None:
        notes.insert(0, f"the classes are all labels that the export has: {', '.join(labels)}")
    splits = choose_splits(pairs, folder, train, val, val_fraction, split_seed, base)
    return make_index(name, decided.listed, splits, notes)


def _match(
    tasks: Sequence[LabelStudioTask], images: Mapping[str, Path], export: Path, folder: Path
) -> dict[str, LabelStudioTask]:
    """Find the image of each task, and return the tasks by the ids of the images.

    Raises:
        ArgumentError: if the image of a task is missing or not certain, or if two tasks have the same image.
    """
    found = find_images([task.image for task in tasks], images)
    missing = [task.image.text or f"task {task.number}" for task, ids in zip(tasks, found, strict=True) if not ids]
    if missing:
        raise ArgumentError(
            f"images={folder} lacks the images of {len(missing)} tasks of {export}: {shorten_list(missing)}; add the "
            f"image files, in the folders that the tasks name, or remove the tasks from the export"
        )
    matched: dict[str, LabelStudioTask] = {}
    for task, ids in zip(tasks, found, strict=True):
        if len(ids) > 1:
            raise ArgumentError(
                f"images={folder}: task {task.number} of {export} may be for each of the images "
                f"{shorten_list(sorted(ids))}; give the images different names, or give the folder of the tasks' "
                f"images by data.images="
            )
        (id,) = ids
        if id in matched:
            raise ArgumentError(
                f"annotations={export}: the tasks {matched[id].number} and {task.number} are for the same image "
                f"{images[id]}; remove one of them, or put the images into the folders that the tasks name"
            )
        matched[id] = task
    return matched
