"""Read the files that list a data set's classes, as people and annotation tools write them."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from hypercolumns.data.class_json import json_classes
from hypercolumns.data.class_list import ClassEntry, ClassList, find_colour, parse_colour
from hypercolumns.data.class_text import text_entries
from hypercolumns.errors import ArgumentError
from hypercolumns.io.files import expand_path, read_lines
from hypercolumns.labels import IGNORE_INDEX, voc_palette

Classes = str | Path | Sequence[str] | Mapping[int, str]  # the setting `data.classes`
Colours = str | Path | Sequence[str | Sequence[int]]  # the setting `data.palette`
VOC_COLOURS = "voc"  # value of `data.palette`: the class of value k has Pascal VOC's colour k


def read_class_list(path: str | Path) -> ClassList:
    """Read the classes of a data set from a file. The content of the file decides its form.

    | form | written by |
    |---|---|
    | a name on each line; `__ignore__` on the first line is void | labelme: labels.txt, class_names.txt |
    | `name:red,green,blue:parts:actions` on each line | CVAT and Datumaro: labelmap.txt |
    | `red green blue name` on each line | CamVid, Datumaro: label_colors.txt |
    | `value name` or `name value` on each line, with the values 0, 1, 2 and so on | |
    | `name red green blue` or `name #rrggbb` on each line, perhaps with a value before the name | |
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
    if not file.is_file():
        raise ArgumentError(
            f"classes={path} is not a file; give a file that lists the classes, or their names in brackets, as in "
            f"classes=[background,road]"
        )
    if file.suffix.lower() == ".json":
        return json_classes(file).check()
    return ClassList(tuple(text_entries(file)), source=str(file)).check()


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
    colours = [find_colour(line) for line in lines]
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
        if not all(isinstance(value, int) and isinstance(name, str) for value, name in classes.items()):
            raise ArgumentError(f"classes={classes} must give each value its name, as in {{0: background, 7: road}}")
        listed = ClassList(tuple(ClassEntry(name, value) for value, name in classes.items())).check()
    else:
        names = [str(name) if isinstance(name, int) and not isinstance(name, bool) else name for name in classes]
        if not all(isinstance(name, str) for name in names):
            raise ArgumentError(
                f"classes={list(classes)} must be a list of names; quote names such as 'null' and 'true'"
            )
        listed = ClassList.of(names).check()
    if palette is None:
        return listed
    if isinstance(palette, str | Path):
        return read_colours(palette, listed)
    if len(palette) != len(listed.entries):
        raise ArgumentError(f"palette has {len(palette)} colours; expected {len(listed.entries)}, one for each class")
    return listed.with_colours([parse_colour("palette", colour) for colour in palette]).check(repeated_colours=True)


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
