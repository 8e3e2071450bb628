"""The two formats of Label Studio's export, JSON and JSON_MIN, as one list of tasks."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from hypercolumns.data.annotations.label_studio_fields import names_image
from hypercolumns.errors import ArgumentError

Annotation = Mapping[str, Any]  # `result`, and the times and marks of an annotation


class RawTask(NamedTuple):
    """A task of an export.

    Attributes:
        number: the id of the task; a description of its entry if it has none.
        fields: the fields of the task, such as the address of its image.
        upload: the name of the file that was uploaded as this task, or with it; None if there is none.
        annotations: the annotations that count.
    """

    number: Any
    fields: Mapping[str, Any]
    upload: Any
    annotations: Sequence[Annotation]


def read_full(content: Sequence[Mapping[str, Any]]) -> list[RawTask]:
    """Return the tasks of an export in the format JSON."""
    tasks: list[RawTask] = []
    for number, task in enumerate(content, 1):
        annotations = [
            annotation
            for annotation in task.get("annotations", task.get("completions")) or []
            if not annotation.get("was_cancelled") and not annotation.get("skipped")
        ]
        tasks.append(RawTask(_number(task, number), task["data"], task.get("file_upload"), annotations))
    return tasks


def read_minimal(content: Sequence[Mapping[str, Any]], path: Path) -> list[RawTask]:
    """Return the tasks of an export in the format JSON_MIN, which has an entry for each annotation.

    The regions of each tag are together. The field `layer` of a region names its tag, as the order of regions of
    different tags is not known.

    Raises:
        ArgumentError: if entries of one task name different images.
    """
    tasks: dict[Any, RawTask] = {}
    for number, entry in enumerate(content, 1):
        results = [
            {
                "type": _kind(region),
                "value": region,
                "layer": tag,
                **{key: region.get(key) for key in ("original_width", "original_height")},
            }
            for tag, regions in entry.items()
            if isinstance(regions, list)
            for region in regions
            if isinstance(region, dict) and "original_width" in region
        ]
        # a position may be the id of another task
        key = ("id", entry["id"]) if entry.get("id") is not None else ("entry", number)
        task = tasks.setdefault(key, RawTask(_number(entry, number), entry, None, []))
        differing = [name for name, text in task.fields.items() if names_image(text) and text != entry.get(name)]
        if differing:
            raise ArgumentError(
                f"annotations={path}: two entries of task {task.number} have different values of {differing[0]} "
                f"({task.fields[differing[0]]}, {entry.get(differing[0])}); export the project again, and do not join "
                f"the exports of several projects"
            )
        if entry["annotation_id"] is not None:  # a task without annotations has an entry, too
            tasks[key] = task._replace(annotations=[*task.annotations, {**entry, "result": results}])
    return list(tasks.values())


def _number(entry: Mapping[str, Any], number: int) -> Any:
    return entry["id"] if entry.get("id") is not None else f"without an id (entry {number})"


def _kind(region: Mapping[str, Any]) -> str:
    """Return the type of a region in JSON_MIN, which is the name of its field of labels."""
    return next((key for key in region if key.endswith("labels")), "region")
