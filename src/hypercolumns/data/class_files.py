"""Read the text files that list a data set's images, class names or class colours."""

from pathlib import Path

from hypercolumns.errors import ArgumentError, shorten_list
from hypercolumns.io.files import expand_path, read_lines
from hypercolumns.labels import IGNORE_INDEX, Palette, is_class_name, voc_palette


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


def read_classes(path: str | Path) -> list[str]:
    """Read the class names from a text file with one name per line, in the order of the class indices.

    Raises:
        ArgumentError: if the file can't be read, if the number of names is not from 1 to 255, or if a name contains
            control characters or occurs twice.
    """
    names = read_lines(expand_path("classes", path), "classes")
    if not 0 < len(names) <= IGNORE_INDEX:
        raise ArgumentError(
            f"classes={path} holds {len(names)} class names; expected 1 to {IGNORE_INDEX}, one per line"
        )
    invalid = [name for name in names if not is_class_name(name)]
    if invalid:
        raise ArgumentError(
            f"classes={path} holds names with control characters ({shorten_list(invalid)}); remove these characters"
        )
    doubled = sorted({name for name in names if names.count(name) > 1})
    if doubled:
        raise ArgumentError(
            f"classes={path} repeats class names ({shorten_list(doubled)}); give each class a different name"
        )
    return names


def read_palette(path: str | Path | None, classes: int) -> Palette:
    """Read the colours of the classes from a text file. If `path` is None, return Pascal VOC's colours.

    The file has one line `R G B` per class, in the order of the class indices. Each number is from 0 to 255.

    Raises:
        ArgumentError: if the file can't be read, if a line is not a colour, if a colour occurs twice, or if the number
            of colours is not `classes`, the number of classes.
    """
    if path is None:
        return voc_palette(classes)
    lines = read_lines(expand_path("palette", path), "palette")
    colours = [tuple(int(part) if part.isdecimal() else -1 for part in line.split()) for line in lines]
    for line, colour in zip(lines, colours, strict=True):
        if len(colour) != 3 or not all(0 <= part <= 255 for part in colour):
            raise ArgumentError(f"palette={path}: the line {line} is not a colour; expected R G B, each from 0 to 255")
    if len(colours) != classes or len(set(colours)) != classes:
        raise ArgumentError(
            f"palette={path} holds {len(colours)} lines with {len(set(colours))} different colours; expected "
            f"{classes} lines, with a different colour for each class"
        )
    return tuple((red, green, blue) for red, green, blue in colours)
