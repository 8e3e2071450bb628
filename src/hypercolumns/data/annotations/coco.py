"""The masks of the images of COCO files: which objects are void, and how each mask is drawn."""

from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from hypercolumns.data.annotations.classes import AnnotationClasses
from hypercolumns.data.annotations.coco_file import CocoFile
from hypercolumns.data.annotations.coco_shapes import LIBRARY, draw_segmentation, segmentation_box
from hypercolumns.data.annotations.drawn_mask import VOID_VALUE, drawn_mask
from hypercolumns.data.annotations.empty import is_annotated
from hypercolumns.data.annotations.outside import OutsideCount
from hypercolumns.data.annotations.panoptic import PanopticMask
from hypercolumns.errors import ArgumentError, check_choice, shorten_list
from hypercolumns.io.mask_source import MaskSource

CROWDS = ("auto", "void", "object")  # the setting `data.crowds`
MAX_CROWDS = 0.2  # the largest share of crowds in a category with `auto`; in COCO itself, it is far smaller


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
            f"write for each object with run lengths; set data.crowds=object if they are objects like the others, or "
            f"data.crowds=void if they are neither to be trained on nor scored"
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
    orientation: str = "auto",
) -> tuple[dict[Any, MaskSource], list[str]]:
    """Make the masks of all images of a COCO file.

    Args:
        file: the content of the file.
        classes: the classes and their values.
        images: the file of each image, by its id.
        crowds_are_void: whether annotations with `iscrowd` 1 are void; they then lie below all objects.
        overlaps: what lies on top, see `DrawnMask`.
        empty: `background`: an image without annotations is annotated; `unlabelled`: it is not annotated yet.
        panoptic: the folder of the PNG files of a panoptic file.
        orientation: on which form of an image with an EXIF orientation objects were drawn, see `drawn_form`.

    Returns:
        The mask of each image, by its id; and lines for the user.

    Raises:
        ArgumentError: if all objects of many images lie outside their image, or if it is not known on which form of an
            image the objects were drawn.
    """
    masks: dict[Any, MaskSource] = {}
    count = OutsideCount(segmentation_box)
    for entry in file.images:
        id, shape = entry["id"], [entry.get("height"), entry.get("width")]
        of_image = file.annotations[id]
        values = [
            VOID_VALUE
            if crowds_are_void and annotation.get("iscrowd")
            else classes.values[file.names[annotation["category_id"]]]
            for annotation in of_image
        ]
        annotated = is_annotated(len(of_image), empty)
        if file.masks:
            segments = tuple((int(part["id"]), value) for part, value in zip(of_image, values, strict=True))
            png = panoptic / file.masks[id] if id in file.masks else None
            masks[id] = PanopticMask(file.path, images[id], png, segments, classes.fill)
        else:
            objects = [(value, part.get("segmentation")) for part, value in zip(of_image, values, strict=True)]
            library = "" if all(isinstance(described, Mapping) for _, described in objects) else LIBRARY
            drawn = drawn_mask(
                *(file.path, images[id], shape, objects, draw_segmentation, classes.fill, overlaps, annotated),
                orientation=orientation,
                library=library,
            )
            count.add(drawn, (described for _, described in objects))
            masks[id] = drawn
    return masks, count.notes(str(file.path))
