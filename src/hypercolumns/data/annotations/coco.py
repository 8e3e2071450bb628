"""COCO's JSON files of instances and of panoptic segments: what they list, and the masks of their images."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hypercolumns.data.annotations.classes import AnnotationClasses
from hypercolumns.data.annotations.coco_shapes import draw_segmentation
from hypercolumns.data.annotations.drawn_mask import VOID_VALUE, drawn_mask
from hypercolumns.data.annotations.json_file import read_annotations
from hypercolumns.data.annotations.panoptic import PanopticMask
from hypercolumns.errors import ArgumentError, check_choice, shorten_list
from hypercolumns.io.mask_source import MaskSource

CROWDS = ("auto", "void", "object")  # the setting `data.crowds`
MAX_CROWDS = 0.2  # the largest share of crowds in a category with `auto`; in COCO itself, it is far smaller
EMPTY = ("background", "unlabelled")  # the setting `data.empty`


@dataclass(frozen=True)
class CocoFile:
    """The content of a COCO file.

    Attributes:
        path: the file.
        images: the entries of the images.
        annotations: the annotations of each image, by its id, in the order of the file. In a panoptic file, these are
            the segments.
        names: the name of each category, by its id.
        masks: the name of the PNG file of each image, by its id, in a panoptic file; {} in a file of instances.
        notes: what was left out, for the user.
    """

    path: Path
    images: Sequence[Mapping[str, Any]]
    annotations: Mapping[Any, Sequence[Mapping[str, Any]]]
    names: Mapping[Any, str]
    masks: Mapping[Any, str]
    notes: tuple[str, ...]

    def used(self) -> list[str]:
        """Return the names of the categories that objects have, in the order of their ids."""
        ids = {annotation["category_id"] for of_image in self.annotations.values() for annotation in of_image}
        return [name for id, name in self.names.items() if id in ids]


def read_coco(path: Path, name: str = "annotations") -> CocoFile:
    """Read a COCO file of instances or of panoptic segments.

    Args:
        path: the file.
        name: the setting that chose the file, for messages.

    Returns:
        Its content. Segmentations are not checked yet.

    Raises:
        ArgumentError: if the file is not such a COCO file, or if an annotation has a category that is not listed.
    """
    content = read_annotations(path, name)
    try:
        images = list(content["images"])
        listed = content["annotations"]
        known = {entry["id"] for entry in images}
        categories = sorted(content["categories"], key=lambda entry: entry["id"])
        names = {entry["id"]: str(entry["name"]) for entry in categories}
        if len(names) < len(categories):
            raise ArgumentError(f"{name}={path} has several categories of one id; give each category an id of its own")
        masks = {entry["image_id"]: str(entry["file_name"]) for entry in listed if "segments_info" in entry}
        objects = (
            ((entry["image_id"], segment) for entry in listed for segment in entry["segments_info"])
            if masks
            else ((entry["image_id"], entry) for entry in listed)
        )
        by_image: dict[Any, list[Mapping[str, Any]]] = {id: [] for id in known}
        orphans = 0
        unlisted: Counter[Any] = Counter()
        for image, annotation in objects:
            if image in by_image:
                by_image[image].append(annotation)
            else:
                orphans += 1
            if annotation["category_id"] not in names:
                unlisted[annotation["category_id"]] += 1
        file_names = [str(entry["file_name"]) for entry in images]
        groups = {entry.get("supercategory") for entry in categories if entry.get("supercategory") != entry["name"]}
    except (KeyError, TypeError, AttributeError) as error:
        raise ArgumentError(
            f"{name}={path} is not a COCO file of instances or panoptic segments ({error!r}); it must hold the lists "
            f"images (id, file_name), annotations (image_id, category_id, segmentation) and categories (id, name)"
        ) from error
    if unlisted:
        raise ArgumentError(
            f"{name}={path}: {unlisted.total()} annotations have a category_id that is not in the list of categories "
            f"({shorten_list([str(id) for id in unlisted])}); add these categories to the file, or export it again"
        )
    if len(known) < len(file_names):
        raise ArgumentError(f"{name}={path} has several images with the same id; export the file again")
    used = {names[annotation["category_id"]] for of_image in by_image.values() for annotation in of_image}
    # Roboflow lists a category for the whole project, which no object has
    unused = [id for id, text in names.items() if text in groups and text not in used and len(names) > 1]
    notes = [f"{path}: the category {names[id]} is no class, as it only groups others" for id in unused]
    if orphans:
        notes.append(f"{path}: {orphans} annotations of images that the file does not list are left out")
    return CocoFile(
        path, images, by_image, {id: name for id, name in names.items() if id not in unused}, masks, tuple(notes)
    )


def decide_crowds(files: Iterable[CocoFile], crowds: str) -> tuple[bool, list[str]]:
    """Decide whether annotations with `iscrowd` 1 are void.

    In COCO, such an annotation covers a group of objects that are not told apart. But some programs give `iscrowd` 1 to
    each object that they write as run lengths.

    Args:
        files: the COCO files.
        crowds: `void`; `object`: they are objects like all others; `auto`: void, unless a category has many of them.

    Returns:
        Whether crowds are void, and a line for the user if there are any.

    Raises:
        ArgumentError: if `crowds` is `auto`, and more than a fifth of the objects of a category are crowds.
    """
    check_choice("crowds", crowds, CROWDS)
    objects: Counter[tuple[str, bool]] = Counter()
    for file in files:
        for of_image in file.annotations.values():
            objects.update((file.names[entry["category_id"]], bool(entry.get("iscrowd"))) for entry in of_image)
    crowded = {name: count for (name, crowd), count in objects.items() if crowd}
    if not crowded:
        return True, []
    totals = {name: count + objects[name, False] for name, count in crowded.items()}
    many = [name for name, count in crowded.items() if count > MAX_CROWDS * totals[name]]
    if crowds == "auto" and many:
        raise ArgumentError(
            f"crowds=auto: {sum(crowded[name] for name in many)} of {sum(totals[name] for name in many)} objects of "
            f"{shorten_list(many)} have iscrowd=1, which means groups of objects in COCO, but which some programs "
            f"write for each object with run lengths; set crowds=object if they are objects like the others, or "
            f"crowds=void if they are neither to be trained on nor scored"
        )
    number = f"{sum(crowded.values())} of {objects.total()} objects have iscrowd=1"
    if crowds == "object":
        return False, [f"{number} and are drawn like the others (data.crowds=object)"]
    return True, [f"{number} and are void; if a program wrote them as objects with run lengths: data.crowds=object"]


def coco_masks(
    file: CocoFile,
    classes: AnnotationClasses,
    images: Mapping[Any, Path],
    crowds_are_void: bool,
    overlaps: str,
    empty: str,
    panoptic: Path,
) -> dict[Any, MaskSource]:
    """Make the masks of all images of a COCO file.

    Args:
        file: the content of the file.
        classes: the classes and their values.
        images: the file of each image, by its id.
        crowds_are_void: whether annotations with `iscrowd` 1 are void; they then lie below all objects.
        overlaps: what lies on top, see `DrawnMask`.
        empty: `background`: an image without annotations is annotated; `unlabelled`: it is not annotated yet.
        panoptic: the folder of the PNG files of a panoptic file.

    Returns:
        The mask of each image, by its id.
    """
    check_choice("empty", empty, EMPTY)
    masks: dict[Any, MaskSource] = {}
    for entry in file.images:
        id, shape = entry["id"], [entry.get("height"), entry.get("width")]
        of_image = file.annotations[id]
        values = [
            VOID_VALUE
            if crowds_are_void and annotation.get("iscrowd")
            else classes.values[file.names[annotation["category_id"]]]
            for annotation in of_image
        ]
        annotated = bool(of_image) or empty == "background"
        if file.masks:
            segments = tuple((int(part["id"]), value) for part, value in zip(of_image, values, strict=True))
            png = panoptic / file.masks[id] if id in file.masks else None
            masks[id] = PanopticMask(file.path, images[id], png, segments, classes.fill)
        else:
            objects = [(value, part.get("segmentation")) for part, value in zip(of_image, values, strict=True)]
            masks[id] = drawn_mask(
                file.path, images[id], shape, objects, draw_segmentation, classes.fill, overlaps, annotated
            )
    return masks
