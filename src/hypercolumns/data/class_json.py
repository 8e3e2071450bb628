"""Read the classes of a data set from JSON files, as annotation tools write them."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from hypercolumns.data.annotations.json_file import read_annotations
from hypercolumns.data.class_list import FORMS, ClassEntry, ClassList, parse_colour
from hypercolumns.errors import ArgumentError
from hypercolumns.labels import Colour


def json_classes(path: Path) -> ClassList:
    """Return the classes of a JSON file.

    Raises:
        ArgumentError: if the file can't be read, is not valid JSON, or lists no classes in a known form.
    """
    content = read_annotations(path, "classes")
    try:
        reader = next(read for fits, read in JSON_FORMS if fits(content))
        return ClassList(tuple(reader(content, path)), source=str(path), values_known=reader is not _supervisely)
    except (KeyError, TypeError, ValueError, IndexError, AttributeError, StopIteration) as error:
        raise ArgumentError(f"classes={path} lists no classes in a known form; expected {FORMS}") from error


def _meta(content: Mapping[str, Any], path: Path) -> list[ClassEntry]:
    """Return the classes of a dataset_meta.json."""
    names = {int(value): name for value, name in content["label_map"].items()}
    colours = content.get("segmentation_colors") or content.get("segmentation_colours") or []
    by_value = dict(zip(sorted(names), colours, strict=True)) if colours else {}
    return [ClassEntry(str(names[value]), value, _colour(by_value.get(value), path)) for value in sorted(names)]


def _objects(items: Sequence[Any], path: Path) -> list[ClassEntry]:
    """Return the classes of a list of names, or of objects that have a name and may have an id and a colour."""
    entries = []
    for number, item in enumerate(items):
        if isinstance(item, str):
            entries.append(ClassEntry(item, number))
            continue
        if not isinstance(item, Mapping):
            raise TypeError("it is neither a name nor an object")
        name = next(item[key] for key in ("name", "title", "label") if isinstance(item.get(key), str))
        value = next((item[key] for key in ("value", "id", "trainId") if item.get(key) is not None), number)
        colour = item.get("color", item.get("colour"))
        entries.append(ClassEntry(name, int(value), _colour(colour, path)))
    return entries


def _colour(given: Any, path: Path) -> Colour | None:
    """Return a colour; None if the file leaves it empty."""
    if isinstance(given, Mapping):
        raise TypeError("a colour is an object")
    return None if given in (None, "", []) else parse_colour(f"classes={path}", given)


def _supervisely(content: Mapping[str, Any], path: Path) -> list[ClassEntry]:
    """Return the classes of a meta.json, which does not name the values of the classes in masks."""
    return _objects([{"name": item["title"], "color": item.get("color")} for item in content["classes"]], path)


def _by_value(content: Mapping[str, Any]) -> list[ClassEntry]:
    """Return the classes of an object that names the class of each value."""
    if not all(isinstance(name, str) for name in content.values()):
        raise TypeError("a name is not a text")
    return [ClassEntry(name, int(value)) for value, name in content.items()]


def _values(content: Mapping[str, Any]) -> list[ClassEntry]:
    """Return the classes of an object that names the value of each class."""
    return [ClassEntry(name, int(value)) for name, value in content.items()]


def _labels(labels: Any, path: Path) -> list[ClassEntry]:
    """Return the classes of `labels` or `names`, which is an object in some files, and a list in others."""
    if not isinstance(labels, Mapping):
        return _objects(labels, path)
    return _by_value(labels) if all(str(key).isdecimal() for key in labels) else _by_name(labels, path)


def _by_name(content: Mapping[str, Any], path: Path) -> list[ClassEntry]:
    """Return the classes of an object that names the value or the colour of each class, such as Supervisely's."""
    if all(isinstance(value, int) for value in content.values()):
        return _values(content)
    colours = {name: _colour(colour, path) for name, colour in content.items()}
    grey = all(colour is not None and len(set(colour)) == 1 for colour in colours.values())
    return [
        ClassEntry(name, colour[0], None) if grey and colour else ClassEntry(name, number, colour)
        for number, (name, colour) in enumerate(colours.items())
    ]


JSON_FORMS: tuple[tuple[Callable[[Any], bool], Callable[[Any, Path], list[ClassEntry]]], ...] = (
    (lambda content: isinstance(content, list), _objects),
    (lambda content: "label_map" in content, _meta),
    (lambda content: "categories" in content, lambda content, path: _objects(content["categories"], path)),
    (lambda content: "id2label" in content, lambda content, path: _by_value(content["id2label"])),
    (lambda content: "label2id" in content, lambda content, path: _values(content["label2id"])),
    (
        lambda content: isinstance(content.get("names"), list | dict),
        lambda content, path: _labels(content["names"], path),
    ),
    (lambda content: "labels" in content, lambda content, path: _labels(content["labels"], path)),
    (lambda content: isinstance(content.get("classes"), list), _supervisely),
    (
        lambda content: bool(content) and all(str(key).isdecimal() for key in content),
        lambda content, path: _by_value(content),
    ),
    (lambda content: bool(content), _by_name),
)
