"""Read the files that list a data set's classes, as people and annotation tools write them."""

import csv
import io
import json
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from hypercolumns.data.class_list import ClassEntry, ClassList
from hypercolumns.errors import ArgumentError
from hypercolumns.io.files import expand_path, read_lines, read_text
from hypercolumns.labels import IGNORE_INDEX, Colour, voc_palette

Classes = str | Path | Sequence[str] | Mapping[int, str]  # the setting `data.classes`
Colours = str | Path | Sequence[str | Sequence[int]]  # the setting `data.palette`
VOC_COLOURS = "voc"  # value of `data.palette`: the class of value k has Pascal VOC's colour k
LABELME_IGNORE = "__ignore__"  # the first line of labelme's labels.txt; its value -1 becomes 255 in the masks
NAME_COLUMNS = ("name", "class", "class name", "label", "category")
VALUE_COLUMNS = ("value", "pixel value", "id", "index", "label id", "class id")
RGB_COLUMNS = (("r", "g", "b"), ("red", "green", "blue"))
NUMBERS_THEN_NAME = re.compile(r"(\d+)[\s,]+(\d+)[\s,]+(\d+)[\s,]+(\S.*)")  # CamVid's label_colors.txt
NAME_THEN_NUMBERS = re.compile(r"(.*\S)[\s,]+(\d+)[\s,]+(\d+)[\s,]+(\d+)")
LABELMAP_LINE = re.compile(r"([^:]+):\s*(?:(\d+)\s*,\s*(\d+)\s*,\s*(\d+)\s*)?:[^:]*:[^:]*")
VALUE_THEN_NAME = re.compile(r"(\d+)\s*[\s,;:=]\s*(\S.*)")
FORMS = (
    "a text file with a class name on each line, labelmap.txt, label_colors.txt, _classes.csv, or the JSON file of an "
    "annotation tool"
)


def read_class_list(path: str | Path) -> ClassList:
    """Read the classes of a data set from a file. The content of the file decides its form.

    | form | written by |
    |---|---|
    | a name on each line; `__ignore__` on the first line is void | labelme: labels.txt, class_names.txt |
    | `name:red,green,blue:parts:actions` on each line | CVAT and Datumaro: labelmap.txt |
    | `red green blue name` on each line | CamVid, Datumaro: label_colors.txt |
    | `value name` on each line, with the values 0, 1, 2 and so on | |
    | CSV with a header: a name, and a value or r, g, b | Roboflow: _classes.csv; class_dict.csv |
    | JSON: `label_map` and `segmentation_colors` | Datumaro: dataset_meta.json |
    | JSON: `categories` | COCO |
    | JSON: `classes`, or a name for each colour | Supervisely: meta.json, obj_class_to_machine_color.json |
    | JSON: a list of names, or of objects with a name, a colour, an id | CVAT's labels |

    Args:
        path: the file.

    Returns:
        The classes.

    Raises:
        ArgumentError: if the file can't be read, is in none of these forms, or lists no valid classes.
    """
    file = expand_path("classes", path)
    if file.suffix.lower() == ".json":
        return _json_classes(file).check()
    return ClassList(tuple(_text_entries(file)), source=str(file)).check()


def read_colours(path: str | Path, classes: ClassList) -> ClassList:
    """Return a list of classes with the colours of a file, or with Pascal VOC's colours if `path` is `voc`.

    The file has one line `R G B` or `R,G,B` per class, in the order of the classes, or is a list of classes with
    colours, as `read_class_list` reads it.

    Raises:
        ArgumentError: if the file can't be read, if a line is not a colour, if a colour occurs twice, or if a class has
            no colour.
    """
    if path == VOC_COLOURS:
        table = voc_palette(IGNORE_INDEX + 1)
        return classes.with_colours([table[min(entry.value, IGNORE_INDEX)] for entry in classes.entries]).check()
    file = expand_path("palette", path)
    lines = [] if file.suffix.lower() == ".json" else read_lines(file, "palette")
    colours = [_colour(line) for line in lines]
    if not lines or not any(colours):
        listed = {entry.name: entry.colour for entry in read_class_list(path).entries}
        lacking = [entry.name for entry in classes.entries if listed.get(entry.name) is None]
        if lacking:
            raise ArgumentError(
                f"palette={path} names no colour for {', '.join(lacking[:5])}; expected a line R G B for each class, "
                f"each number from 0 to 255, or a list of these classes with colours"
            )
        return classes.with_colours([listed[entry.name] for entry in classes.entries]).check()  # type: ignore[misc]
    for line, colour in zip(lines, colours, strict=True):
        if colour is None:
            raise ArgumentError(f"palette={path}: the line {line} is not a colour; expected R G B, each from 0 to 255")
    if len(colours) != len(classes.entries) or len(set(colours)) != len(colours):
        raise ArgumentError(
            f"palette={path} holds {len(colours)} lines with {len(set(colours))} different colours; expected "
            f"{len(classes.entries)} lines, with a different colour for each class"
        )
    return classes.with_colours([colour for colour in colours if colour is not None])


def class_list(classes: Classes | ClassList, palette: Colours | None = None) -> ClassList:
    """Return the classes that the arguments `classes` and `palette` of a data set name.

    Args:
        classes: a file that lists the classes, see `read_class_list`; or the class names in the order of their values;
            or the name of each value; or the classes.
        palette: a file of the classes' colours, see `read_colours`; or the colours in the order of the classes, as
            #RRGGBB or as three numbers; None: the colours in the file `classes`, if any.

    Raises:
        ArgumentError: if a file can't be read or its content is invalid.
    """
    if isinstance(classes, ClassList):
        listed = classes
    elif isinstance(classes, str | Path):
        listed = read_class_list(classes)
    elif isinstance(classes, Mapping):
        listed = ClassList(tuple(ClassEntry(str(name), int(value)) for value, name in classes.items())).check()
    else:
        listed = ClassList.of(map(str, classes)).check()
    if palette is None:
        return listed
    if isinstance(palette, str | Path):
        return read_colours(palette, listed)
    if len(palette) != len(listed.entries):
        raise ArgumentError(f"palette has {len(palette)} colours; expected {len(listed.entries)}, one for each class")
    return listed.with_colours([_rgb("palette", colour) for colour in palette]).check(repeated_colours=True)


def read_ids(path: Path, name: str) -> list[str]:
    """Read the image ids of a split from a text file with one id per line.

    Raises:
        ArgumentError: if the file can't be read or lists no id. The message begins with `name`: the setting that chose
            the file, such as `train`.
    """
    ids = read_lines(path, name)
    if not ids:
        raise ArgumentError(
            f"{name}: {path} lists no images; write one image per line, as its path in the folder of images, without "
            f"suffix"
        )
    return ids


def _text_entries(path: Path) -> list[ClassEntry]:
    text = read_text(path, "classes")
    lines = read_lines(path, "classes")
    content = [line for line in lines if not line.startswith("#")]
    if any("label:" in line for line in lines if line.startswith("#")) or _all(LABELMAP_LINE, content):
        return _labelmap(path, content)
    if len(content) < len(lines):
        raise ArgumentError(f"classes={path} has lines that begin with #; remove them, or give another file: {FORMS}")
    header = _csv_header(lines)
    if path.suffix.lower() == ".csv" or header:
        return _csv_entries(path, text, header)
    if matches := _all(NUMBERS_THEN_NAME, lines):
        return [ClassEntry(m[4], value, _rgb(f"classes={path}", m.groups()[:3])) for value, m in enumerate(matches)]
    if matches := _all(NAME_THEN_NUMBERS, lines):
        return [ClassEntry(m[1], value, _rgb(f"classes={path}", m.groups()[1:])) for value, m in enumerate(matches)]
    numbered = _all(VALUE_THEN_NAME, lines)
    if numbered and [int(match[1]) for match in numbered] == list(range(len(lines))):
        return [ClassEntry(match[2], int(match[1])) for match in numbered]
    names = lines[1:] if lines[:1] == [LABELME_IGNORE] else lines
    return [ClassEntry(name, value) for value, name in enumerate(names)]


def _all(pattern: re.Pattern[str], lines: Sequence[str]) -> list[re.Match[str]]:
    """Return the matches of all lines; [] if one does not match."""
    matches = [match for match in map(pattern.fullmatch, lines) if match]
    return matches if len(matches) == len(lines) else []


def _labelmap(path: Path, lines: Sequence[str]) -> list[ClassEntry]:
    """Return the classes of a labelmap.txt. Their values are the numbers of their lines, as Datumaro reads them."""
    entries = []
    for value, line in enumerate(lines):
        match = LABELMAP_LINE.fullmatch(line)
        if match is None:
            raise ArgumentError(
                f"classes={path}: the line {line} is not name:red,green,blue:parts:actions, as in a labelmap.txt"
            )
        colour = None if match[2] is None else _rgb(f"classes={path}", match.groups()[1:])
        entries.append(ClassEntry(match[1].strip(), value, colour))
    return entries


def _csv_header(lines: Sequence[str]) -> list[str]:
    """Return the column names of a CSV file in lower case; [] if its first line names no column of classes."""
    columns = [part.strip().lower().replace("_", " ") for part in re.split("[,;\t]", lines[0])] if lines else []
    return columns if len(columns) > 1 and any(name in columns for name in NAME_COLUMNS) else []


def _csv_entries(path: Path, text: str, header: Sequence[str]) -> list[ClassEntry]:
    """Return the classes of a CSV file with the given header."""
    if not header:
        raise ArgumentError(
            f"classes={path} has no header that names its columns; its first line must name the columns, such as "
            f"value,class or name,r,g,b"
        )
    delimiter = next(sign for sign in ",;\t" if sign in text.partition("\n")[0])
    rows = list(csv.reader(io.StringIO(text.strip()), delimiter=delimiter))[1:]
    name = next(header.index(column) for column in NAME_COLUMNS if column in header)
    values = [header.index(column) for column in VALUE_COLUMNS if column in header]
    rgb = next(([header.index(part) for part in parts] for parts in RGB_COLUMNS if {*parts} <= {*header}), [])
    entries = []
    for number, row in enumerate(row for row in rows if any(cell.strip() for cell in row)):
        cells = [cell.strip() for cell in row]
        if len(cells) != len(header) or (values and not cells[values[0]].isdecimal()):
            raise ArgumentError(f"classes={path}: the row {','.join(row)} does not fit the header {','.join(header)}")
        value = int(cells[values[0]]) if values else number
        entries.append(
            ClassEntry(cells[name], value, _rgb(f"classes={path}", [cells[part] for part in rgb]) if rgb else None)
        )
    return entries


def _json_classes(path: Path) -> ClassList:
    text = read_text(path, "classes")
    try:
        content = json.loads(text)
    except ValueError as error:
        raise ArgumentError(f"classes={path} is not valid JSON ({error}); give another file: {FORMS}") from error
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
    return [
        ClassEntry(str(names[value]), value, _rgb(f"classes={path}", by_value[value]) if by_value else None)
        for value in sorted(names)
    ]


def _objects(items: Sequence[Any], path: Path) -> list[ClassEntry]:
    """Return the classes of a list of names, or of objects that have a name and may have an id and a colour."""
    entries = []
    for number, item in enumerate(items):
        if isinstance(item, str):
            entries.append(ClassEntry(item, number))
            continue
        name = next(item[key] for key in ("name", "title", "label") if isinstance(item.get(key), str))
        value = next((item[key] for key in ("value", "id") if isinstance(item.get(key), int)), number)
        colour = item.get("color", item.get("colour"))
        entries.append(ClassEntry(name, int(value), None if colour in (None, "") else _rgb(f"classes={path}", colour)))
    return entries


def _supervisely(content: Mapping[str, Any], path: Path) -> list[ClassEntry]:
    """Return the classes of a meta.json, which does not name the values of the classes in masks."""
    return _objects([{"name": item["title"], "color": item.get("color")} for item in content["classes"]], path)


def _by_name(content: Mapping[str, Any], path: Path) -> list[ClassEntry]:
    """Return the classes of an object that names the value or the colour of each class, such as Supervisely's."""
    if all(isinstance(value, int) for value in content.values()):
        return [ClassEntry(name, value) for name, value in content.items()]
    colours = {name: _rgb(f"classes={path}", colour) for name, colour in content.items()}
    grey = all(len(set(colour)) == 1 for colour in colours.values())
    return [
        ClassEntry(name, colour[0] if grey else number, None if grey else colour)
        for number, (name, colour) in enumerate(colours.items())
    ]


JSON_FORMS: tuple[tuple[Callable[[Any], bool], Callable[[Any, Path], list[ClassEntry]]], ...] = (
    (lambda content: isinstance(content, list), _objects),
    (lambda content: "label_map" in content, _meta),
    (lambda content: "categories" in content, lambda content, path: _objects(content["categories"], path)),
    (lambda content: "labels" in content, lambda content, path: _objects(content["labels"], path)),
    (lambda content: isinstance(content.get("classes"), list), _supervisely),
    (
        lambda content: bool(content) and all(str(key).isdecimal() for key in content),
        lambda content, path: [ClassEntry(str(name), int(value)) for value, name in content.items()],
    ),
    (lambda content: bool(content), _by_name),
)


def _colour(line: str) -> Colour | None:
    """Return the colour of a line `R G B` or `R,G,B`; None if the line is not a colour."""
    parts = re.split(r"[\s,;]+", line.strip())
    if len(parts) != 3 or not all(part.isdecimal() and int(part) < 256 for part in parts):
        return None
    return int(parts[0]), int(parts[1]), int(parts[2])


def _rgb(source: str, given: str | Sequence[Any]) -> Colour:
    """Return the colour that is written as #RRGGBB or as three numbers.

    Raises:
        ArgumentError: if it is not a colour. The message begins with `source`.
    """
    if isinstance(given, str) and re.fullmatch("#[0-9a-fA-F]{6}", given):
        return int(given[1:3], 16), int(given[3:5], 16), int(given[5:7], 16)
    given = given if isinstance(given, str) else " ".join(map(str, given))
    colour = _colour(given)
    if colour is None:
        raise ArgumentError(f"{source}: {given} is not a colour; expected red, green, blue, each from 0 to 255")
    return colour
