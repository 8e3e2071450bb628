"""Data sets that are annotated in Label Studio, with one exported file for all images."""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from urllib.parse import unquote, urlsplit

from hypercolumns.data.annotations.classes import annotation_classes
from hypercolumns.data.annotations.coco_shapes import LIBRARY
from hypercolumns.data.annotations.drawn_mask import drawn_mask, not_annotated
from hypercolumns.data.annotations.label_studio import LabelStudioTask, draw_region, is_brush, read_label_studio
from hypercolumns.data.class_files import Classes, Colours
from hypercolumns.data.index import DatasetIndex, ImageMaskPair, make_index
from hypercolumns.data.pairing import image_files
from hypercolumns.data.splits import choose_splits
from hypercolumns.errors import ArgumentError, shorten_list
from hypercolumns.io.files import base_folder, existing_folder, expand_path

UPLOAD_PREFIX = re.compile(r"[0-9a-f]{8}-(.+)")  # Label Studio puts it before the name of an uploaded file


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
    several: str = "error",
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
        several: what to do with tasks of several annotations, see `annotations.label_studio.read_label_studio`.
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
        raise ArgumentError(
            f"{missing}=None must be a path; the data set needs annotations (the exported file) and images (a folder)"
        )
    base = base_folder(root)
    export, folder = base / expand_path("annotations", annotations), existing_folder("images", images, base)
    tasks = read_label_studio(export, several)
    labels = sorted({label for task in tasks for label, _ in task.regions or ()})
    decided = annotation_classes(labels, str(export), classes, palette, unannotated)
    found = image_files(folder, "{id}.*")
    of_image = _match(tasks, found, export, folder)
    pairs = {}
    for id, path in found.items():
        task = of_image.get(id)
        if task is None or task.regions is None:
            mask = not_annotated(export, path, draw_region, decided.fill)
        else:
            objects = [(decided.values[label], described) for label, described in task.regions]
            mask = drawn_mask(
                *(export, path, task.shape, objects, draw_region, decided.fill, overlaps),
                orientation=orientation,
                library="" if all(is_brush(described) for _, described in objects) else LIBRARY,
            )
        pairs[id] = ImageMaskPair(id, path, mask)
    notes = [decided.note]
    if classes is None:
        notes.insert(0, f"the classes are all labels that the export has: {', '.join(labels)}")
    splits = choose_splits(pairs, folder, train, val, val_fraction, split_seed, base)
    return make_index(name, decided.listed, splits, notes)


def _match(
    tasks: Iterable[LabelStudioTask], images: Mapping[str, Path], export: Path, folder: Path
) -> dict[str, LabelStudioTask]:
    """Find the image of each task by the name of its file, and return the tasks by the ids of the images.

    Raises:
        ArgumentError: if the image of a task is missing or not certain, or if two tasks have the same image.
    """
    by_name: dict[str, set[str]] = {}
    for id, path in images.items():
        for key in {path.name, path.name.replace(" ", "_")}:
            by_name.setdefault(key, set()).add(id)
    matched: dict[str, LabelStudioTask] = {}
    missing = []
    for task in tasks:
        ids = next(filter(None, (_candidates(name, by_name, images) for name in task.names)), set())
        if not ids:
            missing.append(task.names[0] if task.names else f"task {task.number}")
            continue
        if len(ids) > 1:
            raise ArgumentError(
                f"images={folder}: task {task.number} of {export} may be for each of the images "
                f"{shorten_list(sorted(ids))}; give the images different names"
            )
        (id,) = ids
        if id in matched:
            raise ArgumentError(
                f"annotations={export}: the tasks {matched[id].number} and {task.number} are for the same image "
                f"{images[id]}; remove one of them"
            )
        matched[id] = task
    if missing:
        raise ArgumentError(
            f"images={folder} lacks the images of {len(missing)} tasks of {export}: {shorten_list(missing)}; add the "
            f"image files, or remove the tasks from the export"
        )
    return matched


def _candidates(name: str, by_name: Mapping[str, set[str]], images: Mapping[str, Path]) -> set[str]:
    """Return the ids of the images that a path or an address of a task may mean.

    Of several images with the same file name, those remain that share most folders at the end of their paths.
    """
    address = urlsplit(name.replace("\\", "/"))
    path = address.query.partition("d=")[2] or address.path  # /data/local-files/?d=folder/a.jpg
    parts = unquote(path).split("/")
    ids = by_name.get(parts[-1], set())
    if not ids and (upload := UPLOAD_PREFIX.fullmatch(parts[-1])):
        ids = by_name.get(upload[1], set())
    if len(ids) < 2:
        return ids
    shared = {id: _shared_end(images[id].parts[:-1], parts[:-1]) for id in ids}
    return {id for id, count in shared.items() if count == max(shared.values())}


def _shared_end(path: Iterable[str], other: Iterable[str]) -> int:
    """Return how many names two paths share at their ends."""
    count = 0
    for name, same in zip(reversed([*path]), reversed([*other]), strict=False):
        if name != same:
            break
        count += 1
    return count
