"""Read the classes of a data set from text files and CSV files."""

import csv
import io
import re
from collections.abc import Callable, Sequence
from pathlib import Path

from hypercolumns.data.class_list import FORMS, ClassEntry, parse_colour
from hypercolumns.errors import ArgumentError
from hypercolumns.io.files import read_lines, read_text
from hypercolumns.labels import MAX_VALUE, voc_palette

LABELME_IGNORE = "__ignore__"  # the first line of labelme's labels.txt; its value -1 becomes 255 in the masks
NAME_COLUMNS = ("name", "class", "class name", "label", "category")
VALUE_COLUMNS = ("value", "pixel value", "id", "index", "label id", "class id")
COLOUR_COLUMNS = ("color", "colour", "hex")
RGB_COLUMNS = (("r", "g", "b"), ("red", "green", "blue"))
NUMBERS_THEN_NAME = re.compile(r"(?P<colour>\d+[\s,]+\d+[\s,]+\d+)[\s,]+(?P<name>\S.*)")  # CamVid's label_colors.txt
NAME_THEN_NUMBERS = re.compile(r"(?P<name>.*[^\s,])[\s,]+(?P<colour>\d+[\s,]+\d+[\s,]+\d+)")
NAME_THEN_HEX = re.compile(r"(?P<name>.*[^\s,;:=])[\s,;:=]+(?P<colour>#[0-9a-fA-F]{6})")
LABELMAP_LINE = re.compile(r"([^:]+):\s*(?:(\d+)\s*,\s*(\d+)\s*,\s*(\d+)\s*)?:[^:]*:[^:]*")
COLOURED_LINES = (NUMBERS_THEN_NAME, NAME_THEN_NUMBERS, NAME_THEN_HEX)
VALUE_THEN_NAME = re.compile(r"(-?\d+)\s*[\s,;:=]\s*(\S.*)")
NAME_THEN_VALUE = re.compile(r"(.*[^\s,;:=])\s*[\s,;:=]\s*(-?\d+)")
UNREAD_SUFFIXES = (".yaml", ".yml", ".xml", ".ini", ".toml", ".pbtxt")


def text_entries(path: Path) -> list[ClassEntry]:
    """Return the classes of a text file or a CSV file. The content of the file decides its form.

    Raises:
        ArgumentError: if the file can't be read, or its form is not known or not certain.
    """
    if path.suffix.lower() in UNREAD_SUFFIXES:
        raise ArgumentError(f"classes={path} is a {path.suffix} file, which is not read; give {FORMS}")
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
    _check_blank_lines(path, text)
    if entries := _coloured(path, lines):
        return entries
    if numbered := _split_values(path, lines, lambda values: values == list(range(len(lines)))):
        return [ClassEntry(name, value) for value, name in sorted(numbered)]
    if len(lines) == 1 and "," in lines[0]:
        raise _unclear(path, lines)
    names = lines[1:] if lines[:1] == [LABELME_IGNORE] else lines
    return [ClassEntry(name, value) for value, name in enumerate(names)]


def _check_blank_lines(path: Path, text: str) -> None:
    """Raise ArgumentError if a class follows a blank line, because the line may stand for a value without a class."""
    lines = text.rstrip().split("\n")
    blank = next((number for number, line in enumerate(lines, 1) if not line.strip()), None)
    if blank is not None and len(lines) > 1:
        raise ArgumentError(
            f"classes={path}: line {blank} is blank, so the values of the classes below it are not certain; remove the "
            f"line, or write a class on it"
        )


def _coloured(path: Path, lines: Sequence[str]) -> list[ClassEntry]:
    """Return the classes of lines that hold a name, a colour and perhaps a value; [] if no line holds a colour.

    Raises:
        ArgumentError: if only some lines hold a colour in the same form, or if it is not certain what numbers mean.
    """
    patterns = [pattern for pattern in COLOURED_LINES if any(map(pattern.fullmatch, lines))]
    if not patterns:
        return []
    pattern = next((pattern for pattern in patterns if _all(pattern, lines)), patterns[0])
    other = next((line for line in lines if not pattern.fullmatch(line)), None)
    if other is not None:
        raise ArgumentError(
            f"classes={path}: the line {other} gives no colour as the other lines do; give all classes a colour in the "
            f"same form, or none"
        )
    matches = _all(pattern, lines)
    if pattern is not NAME_THEN_HEX:
        beside = 0 if pattern is NUMBERS_THEN_NAME else -1
        if all(match["name"].split()[beside].isdecimal() for match in matches):
            raise ArgumentError(
                f"classes={path}: each line has more than three numbers beside each other; expected red, green, blue, "
                f"name, or value, name, red, green, blue"
            )
    names = [match["name"] for match in matches]
    valid = range(MAX_VALUE + 1)
    numbered = _split_values(path, names, lambda values: len({*values}) == len(values) and {*values} <= {*valid})
    return [
        ClassEntry(name, value, parse_colour(f"classes={path}", match["colour"]))
        for match, (value, name) in zip(matches, numbered or enumerate(names), strict=True)
    ]


def _split_values(path: Path, lines: Sequence[str], fits: Callable[[list[int]], bool]) -> list[tuple[int, str]]:
    """Split values from names that stand before or after them.

    Args:
        path: the file, for the message.
        lines: a name on each line, perhaps with a value.
        fits: whether sorted numbers can be the values of all classes.

    Returns:
        The value and the name on each line; [] if the lines are names as they are: they hold no numbers, or the names
        without the numbers are not all different, as in `grade 0`, `grade 1`.

    Raises:
        ArgumentError: if it is not certain what the numbers are.
    """
    before = [(int(match[1]), match[2]) for match in _all(VALUE_THEN_NAME, lines)]
    after = [(int(match[2]), match[1]) for match in _all(NAME_THEN_VALUE, lines)]
    readings = []
    for reading in filter(None, (before, after)):
        values, names = [value for value, _ in reading], {name for _, name in reading}
        if len(names) == len(lines):
            readings.append(reading)
        elif sorted(values) == list(range(len(lines))) != values:
            raise _unclear(path, lines)  # a repeated name, or names whose order is not that of their numbers
    fitting = [
        reading
        for reading in readings
        if fits(sorted(value for value, _ in reading)) and not all(name.isdecimal() for _, name in reading)
    ]
    if fitting != readings[:1]:
        raise _unclear(path, lines)
    return fitting[0] if fitting else []


def _unclear(path: Path, lines: Sequence[str]) -> ArgumentError:
    return ArgumentError(
        f"classes={path}: it is not clear whether the numbers in the lines, such as {lines[0]}, are values of the "
        f"masks; write a CSV file with the header value,class (and ,r,g,b for colours), or a name on each line"
    )


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
        colour = None if match[2] is None else parse_colour(f"classes={path}", match.groups()[1:])
        entries.append(ClassEntry(match[1].strip(), value, colour))
    if all(entry.colour is None for entry in entries):  # Datumaro then paints masks in Pascal VOC's colours
        palette = voc_palette(len(entries))
        return [entry._replace(colour=colour) for entry, colour in zip(entries, palette, strict=True)]
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
    colour = next((header.index(column) for column in COLOUR_COLUMNS if column in header), None)
    used = {name, colour, *values, *rgb}
    rows = [row for row in rows if any(cell.strip() for cell in row)]
    for column, title in enumerate(header):
        numbers = all(len(row) > column and row[column].strip().lstrip("-").isdecimal() for row in rows)
        if column not in used and rows and numbers and not values:
            raise ArgumentError(
                f"classes={path}: the column {title} may hold the values of the classes; name it value if so, or "
                f"remove it"
            )
    entries = []
    for number, row in enumerate(rows):
        cells = [cell.strip() for cell in row]
        if len(cells) != len(header) or (values and not cells[values[0]].isdecimal()):
            raise ArgumentError(f"classes={path}: the row {','.join(row)} does not fit the header {','.join(header)}")
        value = int(cells[values[0]]) if values else number
        given = " ".join(cells[part] for part in rgb).strip() if rgb else "" if colour is None else cells[colour]
        found = parse_colour(f"classes={path}", given) if given else None
        entries.append(ClassEntry(cells[name], value, found))
    return entries
