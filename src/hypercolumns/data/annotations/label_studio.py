"""Label Studio's export JSON: its tasks, and the regions that people have drawn."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hypercolumns.data.annotations.brush import decode_alpha
from hypercolumns.data.annotations.coco_shapes import draw_polygons
from hypercolumns.data.annotations.drawn_mask import Patch, point_array
from hypercolumns.data.annotations.json_file import read_annotations
from hypercolumns.data.annotations.label_studio_fields import (
    TaskImage,
    choose_field,
    names_image,
    task_image,
    uploaded_image,
)
from hypercolumns.data.annotations.label_studio_formats import Annotation, read_full, read_minimal
from hypercolumns.data.annotations.outside import Box, box_of
from hypercolumns.errors import ArgumentError, check_choice, shorten_list
from hypercolumns.io.images import PixelShape

SEVERAL = ("error", "newest")  # the setting `data.several`
CORNERED = ("polygon", "rectangle")
SHAPES = ("brush", *CORNERED)  # the kinds of regions that are drawn
# kinds of results that are no regions, although some belong to one
NO_REGIONS = "labels choices textarea taxonomy rating number datetime pairwise ranker relation".split()
# the fields of a region that draw it
GEOMETRY = ("rle", "points", "x", "y", "width", "height", "rotation", "radiusX", "radiusY", "vertices")


@dataclass(frozen=True)
class LabelStudioTask:
    """A task of an export.

    Attributes:
        number: the id of the task.
        image: the image of the task, as the task names it.
        regions: the label and the description of each region, in the order of the file; None if the task has no
            annotation, or only cancelled ones.
        shape: the (height, width) of the image; None for what the task does not say.
        layers: the tag of each region, if the file does not say in which order regions of different tags were drawn.
    """

    number: Any
    image: TaskImage
    regions: tuple[tuple[str, Mapping[str, Any]], ...] | None
    shape: tuple[Any, Any]
    layers: tuple[str, ...] = ()


def read_label_studio(
    path: Path, several: str = "error", image_field: str | None = None
) -> tuple[list[LabelStudioTask], list[str]]:
    """Read an export in Label Studio's formats JSON or JSON_MIN.

    Cancelled annotations, predictions and drafts are not used. Of several annotations of a task, one that is marked as
    ground truth is used.

    Args:
        path: the file.
        several: what to do with other tasks of several annotations: `error`; or `newest`: use the one that was changed
            last.
        image_field: the field of a task that names its image, see `label_studio_fields.choose_field`. The name of a
            file that was uploaded as a task is used before it.

    Returns:
        The tasks, in the order of the file; and lines for the user. Regions are not checked yet.

    Raises:
        ArgumentError: if the file can't be read, is not such an export or holds only predictions, if a region does not
            have one label, if it is not certain which field names the images, or if tasks have several annotations and
            `several` is `error`.
    """
    check_choice("several", several, SEVERAL)
    content = read_annotations(path)
    try:
        if not isinstance(content, list) or not all("data" in task or "annotation_id" in task for task in content):
            raise TypeError("it is no list of tasks")
        is_full = any("data" in task for task in content)
        raw = read_full(content) if is_full else read_minimal(content, path)
        if not any(task.annotations for task in raw) and any(task.get("predictions") for task in content):
            raise ArgumentError(
                f"annotations={path} holds no annotations: these are predictions; accept them in Label Studio, then "
                f"export the project"
            )
        crowded = [task.number for task in raw if len(task.annotations) > 1 and not _truth(task.annotations)]
        if crowded and several == "error":
            raise ArgumentError(
                f"several=error: {len(crowded)} tasks of {path} have several annotations, such as task {crowded[0]}; "
                f"mark one of them as ground truth, or set data.several=newest to use the one that was changed last"
            )
        tasks: list[LabelStudioTask] = []
        notes: list[str] = []
        without_upload = [task.fields for task in raw if not names_image(task.upload)]
        field = None
        if without_upload:
            pointed = {tag for task in raw for tag in _tags(task.annotations)}
            field, notes = choose_field(without_upload, pointed, image_field, str(path))
        for task in raw:
            if names_image(task.upload):
                image = uploaded_image(str(task.upload))
            else:
                image = task_image(str(task.fields.get(field or "") or ""))
            tasks.append(_task(path, task.number, image, task.annotations))
    except (KeyError, TypeError, AttributeError) as error:
        raise ArgumentError(
            f"annotations={path} is not an export of Label Studio ({error!r}); export the project in the format JSON"
        ) from error
    if not is_full and any(task.regions for task in tasks):
        notes.append(
            "the format JSON_MIN does not say whether regions were drawn on a rotated view of an image; if some were, "
            "export the project in the format JSON"
        )
    return tasks, notes


def draw_region(described: Mapping[str, Any], shape: PixelShape) -> Patch:
    """Draw a region of Label Studio.

    Coordinates are percentages of the width and height of the image. Polygons and rectangles are drawn by pycocotools,
    as are those of Label Studio's export in COCO's format. A brush covers the pixels whose alpha is not 0.

    Args:
        described: the region's `type` and `value`, and its `image_rotation`.
        shape: the (height, width) of the image.

    Returns:
        The pixels of the region.

    Raises:
        ValueError: if the region is invalid, or of a kind that is not drawn.
        HypercolumnsError: if pycocotools is needed, but not installed.
    """
    value, height, width = described["value"], *shape
    kind = _kind_of(described)
    if kind not in SHAPES:
        raise ValueError(f"regions of type {described['type']} are not read, only {', '.join(SHAPES)}")
    if described.get("image_rotation"):
        raise ValueError("it was drawn on a rotated view of the image; rotate the view back in Label Studio")
    tall, wide = described.get("size") or (None, None)
    if None not in (tall, wide) and (tall, wide) != (height, width):
        raise ValueError(f"it was drawn on an image of {wide}x{tall} pixels, but the image has {width}x{height}")
    if is_brush(described):
        return Patch(0, 0, decode_alpha(value["rle"], height, width) > 0)
    corners = _corners(described, shape)
    return draw_polygons([corners.ravel().tolist()], shape)


def region_box(described: Mapping[str, Any], shape: Sequence[int]) -> Box | None:
    """Return the box of a polygon or a rectangle; None for a brush, which can't lie outside the image."""
    if _kind_of(described) not in CORNERED:
        return None
    return box_of(_corners(described, shape).tolist())


def _corners(described: Mapping[str, Any], shape: Sequence[int]) -> NDArray[np.float64]:
    """Return the corners (N, 2) of a polygon or a rectangle, in pixels."""
    value = described["value"]
    scale = np.array([shape[1], shape[0]]) / 100
    if _kind_of(described) == "polygon":
        return point_array(value["points"]) * scale
    angle = math.radians(value.get("rotation") or 0)
    along = value["width"] * scale[0] * np.array([math.cos(angle), math.sin(angle)])
    down = value["height"] * scale[1] * np.array([-math.sin(angle), math.cos(angle)])
    first = np.array([value["x"], value["y"]]) * scale
    return np.stack([first, first + along, first + along + down, first + down])


def is_brush(described: Mapping[str, Any]) -> bool:
    """Whether a region was drawn by a brush, so that no package is needed to draw it."""
    return _kind_of(described) == "brush"


def _kind_of(described: Mapping[str, Any]) -> str:
    return str(described["type"]).removesuffix("labels")


def _truth(annotations: Sequence[Annotation]) -> list[Annotation]:
    marked = [annotation for annotation in annotations if annotation.get("ground_truth")]
    return marked if len(marked) == 1 else []


def _tags(annotations: Sequence[Annotation]) -> Iterator[str]:
    """Yield the names of the tags that regions belong to."""
    for annotation in annotations:
        for item in annotation.get("result") or []:
            if item["type"] not in NO_REGIONS and isinstance(item.get("to_name"), str):
                yield item["to_name"]


def _task(path: Path, number: Any, image: TaskImage, annotations: Sequence[Annotation]) -> LabelStudioTask:
    if not annotations:
        return LabelStudioTask(number, image, None, (None, None))
    newest = max(annotations, key=lambda item: str(item.get("updated_at") or item.get("created_at") or ""))
    results = (_truth(annotations) or [newest])[0].get("result") or []
    labels = {item.get("id"): item["value"]["labels"] for item in results if item.get("type") == "labels"}
    regions, shape = [], (None, None)
    results = [item for item in results if item["type"] not in NO_REGIONS]
    if len({(str(item.get("to_name")), str(item.get("item_index"))) for item in results}) > 1:
        raise ArgumentError(
            f"annotations={path}: the regions of task {number} belong to several images (to_name or item_index); "
            f"export tasks of one image each"
        )
    for item in results:
        value = item.get("value") or {}
        named = value.get(item["type"]) or value.get("labels") or labels.get(item.get("id")) or []
        if list(named) == [None]:
            raise ArgumentError(
                f"annotations={path}: the label of a region of task {number} is null; give it a label in Label Studio"
            )
        if len(named) != 1:
            raise ArgumentError(
                f"annotations={path}: a region of task {number} has {len(named)} labels ({shorten_list(named)}); "
                f"give it one label in Label Studio"
            )
        shape = (item.get("original_height"), item.get("original_width"))
        described = {"type": item["type"], "value": {key: value[key] for key in GEOMETRY if key in value}}
        regions.append((str(named[0]), described | {"image_rotation": item.get("image_rotation"), "size": [*shape]}))
    layers = tuple(str(item["layer"]) for item in results if "layer" in item)
    return LabelStudioTask(number, image, tuple(regions), shape, layers)
