"""A COCO file of all predicted images, with a run-length encoded mask for each class and image.

Polygons would lose holes and single pixels; run lengths keep each pixel. Under COCO's rules, an annotation with run
lengths has `iscrowd` 1: it stands for all objects of its class in the image.
"""

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import numpy as np

from hypercolumns.errors import HypercolumnsError, shorten_list, summarize_error
from hypercolumns.io.files import atomic_write
from hypercolumns.labels import is_background
from hypercolumns.prediction.annotations.labelled_image import (
    LabelledImage,
    annotated_classes,
    class_masks,
)

FILE = "coco.json"


class CocoIds(NamedTuple):
    """The images and categories of a COCO file, with their ids.

    Attributes:
        images: maps the path of each image (`Source.file`) to its entry in the file, with `id` and `file_name`.
        categories: the entries of all categories.
        category_ids: maps the index of each class that gets annotations to the id of its category.
    """

    images: Mapping[str, dict[str, Any]]
    categories: list[dict[str, Any]]
    category_ids: Mapping[int, int]


def new_coco_ids(files: Sequence[str], classes: Sequence[str]) -> CocoIds:
    """Number the images and the classes from 1: images sorted by path, classes in their order.

    Some tools do not accept a category with the id 0.
    """
    ids = {index: index + 1 for index in annotated_classes(classes)}
    categories = [{"id": number, "name": classes[index]} for index, number in ids.items()]
    images = {file: {"id": number, "file_name": file} for number, file in enumerate(sorted(files), 1)}
    return CocoIds(images, categories, ids)


def read_coco_ids(path: Path, files: Sequence[str], classes: Sequence[str]) -> CocoIds:
    """Read the ids of images and categories from a COCO file.

    An image is found by its path, or by the name of its file if only one entry of the COCO file has this name.

    Args:
        path: the COCO file.
        files: the paths of the images, see `Source.file`.
        classes: the names of the classes. The file may lack the category of the background.

    Returns:
        The entries of the images in `files`, and all categories of the file.

    Raises:
        HypercolumnsError: if the file is not a COCO file, if it lacks an image or a class, if two images have the same
            entry, or if two categories have the name of a class.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        images = [(str(entry["file_name"]), {**entry, "id": entry["id"]}) for entry in content["images"]]
        categories = [{**entry, "id": entry["id"], "name": entry["name"]} for entry in content["categories"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise HypercolumnsError(
            f"coco_images={path} can't be read as a COCO file ({summarize_error(error)}); give a JSON file with the "
            f"lists images (id, file_name) and categories (id, name)"
        ) from error
    by_path = _unique(images)
    by_name = _unique([(PurePosixPath(path).name, entry) for path, entry in images])
    candidates = {file: by_path.get(file) or by_name.get(PurePosixPath(file).name) for file in files}
    found = {file: entry for file, entry in candidates.items() if entry is not None}
    _check_images(path, files, found)
    numbers = {str(category["name"]): category["id"] for category in categories}
    names = Counter(str(category["name"]) for category in categories)
    lacking = [name for name in classes if not names[name] and not is_background(name)]
    double = [name for name in classes if names[name] > 1]
    if lacking or double:
        what = f"lacks the classes {shorten_list(lacking)}" if lacking else f"has {shorten_list(double)} twice"
        raise HypercolumnsError(
            f"coco_images={path} {what} among its categories ({shorten_list(list(names))}); add each class to the file "
            f"once, with the name that the model has, or leave out coco_images="
        )
    return CocoIds(found, categories, {index: numbers[name] for index, name in enumerate(classes) if names[name]})


def write_coco(path: Path, images: Iterable[LabelledImage], ids: CocoIds) -> None:
    """Write a COCO file with the predicted masks, atomically. Only one image is held in memory.

    Args:
        path: the file to write.
        images: the images and their labels.
        ids: the entries of the images and categories.

    Raises:
        HypercolumnsError: if the entry of an image has another size than its labels.
    """
    entries, number = [], 0
    with atomic_write(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        file.write(f'{{"info": {{}}, "licenses": [], "categories": {json.dumps(ids.categories)}, "annotations": [')
        for image in images:
            entry = _sized(ids.images[image.file], image)
            entries.append(entry)
            for annotation in _annotations(image, entry["id"], ids.category_ids):
                file.write((",\n" if number else "\n") + json.dumps({"id": number + 1, **annotation}))
                number += 1
        file.write(f'\n], "images": {json.dumps(entries)}}}\n')


def _annotations(image: LabelledImage, image_id: object, category_ids: Mapping[int, int]) -> Iterable[dict[str, Any]]:
    from pycocotools import mask as coco  # only the extra `coco` installs this package

    for index, mask in class_masks(image.labels, category_ids):
        code = coco.encode(np.asfortranarray(mask).view(np.uint8))
        yield {
            "image_id": image_id,
            "category_id": category_ids[index],
            "segmentation": {"size": code["size"], "counts": code["counts"].decode("ascii")},
            "area": int(coco.area(code)),
            "bbox": coco.toBbox(code).tolist(),
            "iscrowd": 1,
        }


def _sized(entry: dict[str, Any], image: LabelledImage) -> dict[str, Any]:
    """Return the entry of an image with its height and width."""
    height, width = image.labels.shape
    if (entry.get("height", height), entry.get("width", width)) != (height, width):
        raise HypercolumnsError(
            f"the entry of {image.file} in the file coco_images= is for an image of {entry.get('width')}x"
            f"{entry.get('height')} pixels, but the image has {width}x{height}; correct the entry, and run the same "
            f"command again"
        )
    return {**entry, "height": height, "width": width}


def _unique(images: Sequence[tuple[str, dict[str, Any]]]) -> dict[str, dict[str, Any]]:
    """Return the entries whose name no other entry has, by their names."""
    counts = Counter(name for name, _ in images)
    return {name: entry for name, entry in images if counts[name] == 1}


def _check_images(path: Path, files: Sequence[str], found: Mapping[str, dict[str, Any]]) -> None:
    missing = [file for file in files if file not in found]
    if missing:
        raise HypercolumnsError(
            f"coco_images={path} lacks {len(missing)} of the {len(files)} images: {shorten_list(missing)}; an entry "
            f"must have the path of the image as its file_name, or a file name that no other entry has; add the images "
            f"to the file, or leave out coco_images="
        )
    by_id: dict[object, str] = {}
    for file, entry in found.items():
        other = by_id.setdefault(entry["id"], file)
        if other != file:
            raise HypercolumnsError(
                f"coco_images={path} has one entry, id {entry['id']}, for the images {other} and {file}; give each "
                f"image an entry with its path as file_name, or leave out coco_images="
            )
