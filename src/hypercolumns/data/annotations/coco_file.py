"""Read COCO's JSON files of instances and of panoptic segments."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hypercolumns.data.annotations.coco_ids import IdMatcher, id_order
from hypercolumns.data.annotations.json_file import read_annotations
from hypercolumns.errors import ArgumentError, shorten_list

CROWD_TEXTS = {"0": False, "1": True, "false": False, "true": True}
NO_GROUP = ("", "none")  # names of a missing supercategory
MAX_ORPHANS = 0.5  # the largest fraction of annotations whose image is not listed

Entry = Mapping[str, Any]  # an image, an annotation, a segment or a category of a COCO file


@dataclass(frozen=True)
class CocoFile:
    """The content of a COCO file.

    Attributes:
        path: the file.
        images: the entries of the images.
        annotations: the annotations of each image, by its id, in the order of the file. In a panoptic file, these are
            the segments. Their `category_id` is a key of `names`, and their `iscrowd`, if they have one, is 0 or 1.
        names: the name of each category, by its id.
        masks: the name of the PNG file of each image, by its id, in a panoptic file; {} in a file of instances.
        notes: what was left out, for the user.
    """

    path: Path
    images: Sequence[Entry]
    annotations: Mapping[Any, Sequence[Entry]]
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
        ArgumentError: if the file is not such a COCO file; if an annotation has a category that is not listed, or is a
            crowd neither by 0 nor by 1; if most annotations are of images that are not listed; or if an id, a category
            or the image of a panoptic mask is listed twice with different meanings.
    """
    content = read_annotations(path, name)
    source = f"{name}={path}"
    try:
        images = list(content["images"])
        categories = sorted(content["categories"], key=lambda entry: id_order(entry["id"]))
        listed = content["annotations"]
        image_ids = IdMatcher((entry["id"] for entry in images), f"{source}: the image_id")
        category_ids = IdMatcher((entry["id"] for entry in categories), f"{source}: the category_id")
        if len(category_ids) < len(categories):
            raise ArgumentError(f"{source} has several categories of one id; give each category an id of its own")
        file_names = [str(entry["file_name"]) for entry in images]
        if len(image_ids) < len(file_names):
            raise ArgumentError(f"{source} has several images with the same id; export the file again")
        panoptic = any("segments_info" in entry for entry in listed)
        masks = _panoptic_masks(listed, image_ids, source) if panoptic else {}
        by_image: dict[Any, list[Entry]] = {id: [] for id in image_ids}
        orphans: Counter[Any] = Counter()
        unlisted: Counter[Any] = Counter()
        for image, annotation in _objects(listed, panoptic):
            category = category_ids.find(annotation["category_id"])
            if category is None:
                unlisted[annotation["category_id"]] += 1
            elif (found := image_ids.find(image)) is None:
                orphans[image] += 1
            else:
                by_image[found].append(_plain(annotation, category, source))
        if panoptic:
            _check_segments(by_image, masks, source)
        _check_names(categories, source)
        names = {entry["id"]: str(entry["name"]) for entry in categories}
        groups = {entry.get("supercategory") for entry in categories if entry.get("supercategory") != entry["name"]}
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ArgumentError(
            f"{source} is not a COCO file of instances or panoptic segments ({error!r}); it must hold the lists "
            f"images (id, file_name), annotations (image_id, category_id, segmentation) and categories (id, name)"
        ) from error
    if unlisted:
        raise ArgumentError(
            f"{source}: {unlisted.total()} annotations have a category_id that is not in the list of categories "
            f"({shorten_list([str(id) for id in unlisted])}); add these categories to the file, or export it again"
        )
    notes = _orphan_notes(orphans, sum(map(len, by_image.values())), path, source)
    used = {annotation["category_id"] for of_image in by_image.values() for annotation in of_image}
    notes += _shared_names([entry for entry in categories if entry["id"] in used], path, source)
    # Roboflow lists a category for the whole project, which no object has
    used_names = {names[id] for id in used}
    unused = [id for id, text in names.items() if text in groups and text not in used_names and len(names) > 1]
    notes = [*(f"{path}: the category {names[id]} is no class, as it only groups others" for id in unused), *notes]
    kept = {id: text for id, text in names.items() if id not in unused}
    return CocoFile(path, images, by_image, kept, masks, tuple(notes))


def _check_names(categories: Iterable[Entry], source: str) -> None:
    nameless = [str(entry["id"]) for entry in categories if entry["name"] is None]
    if nameless:
        raise ArgumentError(
            f"{source} has categories whose name is null (ids {shorten_list(nameless)}); give each category a name"
        )


def _panoptic_masks(listed: Iterable[Entry], images: IdMatcher, source: str) -> dict[Any, str]:
    """Return the name of the PNG file of each image, by its id."""
    masks: dict[Any, str] = {}
    for entry in listed:
        if (id := images.find(entry["image_id"])) is None:
            continue
        if id in masks:
            raise ArgumentError(
                f"{source} lists the segments of the image {id} twice ({masks[id]}, {entry['file_name']}); remove one "
                f"of the entries, or export the file again"
            )
        masks[id] = str(entry["file_name"])
    return masks


def _objects(listed: Iterable[Entry], panoptic: bool) -> Iterator[tuple[Any, Entry]]:
    """Yield the id of the image, and the description, of each object."""
    for entry in listed:
        for described in entry["segments_info"] if panoptic else [entry]:
            yield entry["image_id"], described


def _plain(annotation: Entry, category: Any, source: str) -> Entry:
    """Return an annotation with the id of its category as the list of categories has it, and 0 or 1 for `iscrowd`."""
    crowd = annotation.get("iscrowd")
    if crowd not in (None, 0, 1):
        plain = CROWD_TEXTS.get(crowd.strip().lower()) if isinstance(crowd, str) else None
        if plain is None:
            raise ArgumentError(
                f"{source}: the annotation {annotation.get('id')} has iscrowd={crowd!r}; it must be 0 (an object) or 1 "
                f"(a group of objects): correct it in the file, or export the file again"
            )
        annotation = {**annotation, "iscrowd": int(plain)}
    return annotation if annotation["category_id"] == category else {**annotation, "category_id": category}


def _orphan_notes(orphans: Counter[Any], others: int, path: Path, source: str) -> list[str]:
    """Return a line about annotations whose image is not listed, if there are any.

    Raises:
        ArgumentError: if most annotations are such ones, as then the ids of the images are probably wrong.
    """
    count = orphans.total()
    if count > MAX_ORPHANS * (count + others):
        raise ArgumentError(
            f"{source}: {count} of {count + others} annotations have an image_id that is not in the list of images "
            f"({shorten_list([str(id) for id in orphans])}); export the file again, or remove these annotations"
        )
    return [f"{path}: {count} annotations of images that the file does not list are left out"] if count else []


def _check_segments(by_image: Mapping[Any, Sequence[Entry]], masks: Mapping[Any, str], source: str) -> None:
    """Raise ArgumentError if an image has two segments of one id, but of different categories or crowds."""
    for image, segments in by_image.items():
        kinds: dict[int, tuple[Any, bool]] = {}
        for part in segments:
            kind = (part["category_id"], bool(part.get("iscrowd")))
            if kinds.setdefault(int(part["id"]), kind) != kind:
                raise ArgumentError(
                    f"{source} lists the segment {part['id']} of {masks.get(image, image)} twice, with different "
                    f"categories or iscrowd; remove one of the entries, or export the file again"
                )


def _shared_names(categories: Sequence[Entry], path: Path, source: str) -> list[str]:
    """Return a line for each name that several categories with objects have.

    Raises:
        ArgumentError: if their supercategories differ, as then they mean different things.
    """
    by_name: dict[str, list[Entry]] = {}
    for entry in categories:
        by_name.setdefault(str(entry["name"]), []).append(entry)
    notes = []
    for text, same in by_name.items():
        ids = shorten_list([str(entry["id"]) for entry in same])
        groups = list(dict.fromkeys(str(entry.get("supercategory")) for entry in same))
        groups = [group for group in groups if group.lower() not in NO_GROUP]
        if len(groups) > 1:
            raise ArgumentError(
                f"{source} has several categories with the name {text} (ids {ids}), of the supercategories "
                f"{shorten_list(groups)}; give them different names in the file, or one supercategory if they are one "
                f"class"
            )
        if len(same) > 1:
            notes.append(f"{path}: the categories {ids} have the name {text} and are one class")
    return notes
