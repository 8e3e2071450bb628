"""Read the classes of a data set from text files and CSV files."""

import csv
import io
import re
from collections.abc import Sequence
from pathlib import Path

from hypercolumns.data.class_list import FORMS, ClassEntry, parse_colour
from hypercolumns.errors import ArgumentError
from hypercolumns.io.files import read_lines, read_text
from hypercolumns.labels import voc_palette

LABELME_IGNORE = "__ignore__"  # the first line of labelme's labels.txt; its value -1 becomes 255 in the masks
NAME_COLUMNS = ("name", "class", "class name", "label", "category")
VALUE_COLUMNS = ("value", "pixel value", "id", "index", "label id", "class id")
COLOUR_COLUMNS = ("color", "colour", "hex")
RGB_COLUMNS = (("r", "g", "b"), ("red", "green", "blue"))
NUMBERS_THEN_NAME = re.compile(r"(\d+)[\s,]+(\d+)[\s,]+(\d+)[\s,]+(\S.*)")  # CamVid's label_colors.txt
NAME_THEN_NUMBERS = re.compile(r"(.*\S)[\s,]+(\d+)[\s,]+(\d+)[\s,]+(\d+)")
LABELMAP_LINE = re.compile(r"([^:]+):\s*(?:(\d+)\s*,\s*(\d+)\s*,\s*(\d+)\s*)?:[^:]*:[^:]*")
VALUE_THEN_NAME = re.compile(r"(-?\d+)\s*[\s,;:=]\s*(\S.*)")
NAME_THEN_VALUE = re.compile(r"(.*\S)\s*[\s,;:=]\s*(-?\d+)")
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
    if matches := _all(NUMBERS_THEN_NAME, lines):
        _check_three(path, [m[4].split()[0] for m in matches])
        return [
            ClassEntry(m[4], value, parse_colour(f"classes={path}", m.groups()[:3])) for value, m in enumerate(matches)
        ]
    if matches := _all(NAME_THEN_NUMBERS, lines):
        _check_three(path, [m[1].split()[-1] for m in matches])
        return [
            ClassEntry(m[1], value, parse_colour(f"classes={path}", m.groups()[1:])) for value, m in enumerate(matches)
        ]
    numbered = [(int(match[1]), match[2]) for match in _all(VALUE_THEN_NAME, lines)]
    numbered = numbered or [(int(match[2]), match[1]) for match in _all(NAME_THEN_VALUE, lines)]
    if numbered and sorted(value for value, _ in numbered) == list(range(len(lines))):
        return [ClassEntry(name, value) for value, name in sorted(numbered)]
    if numbered or (len(lines) == 1 and "," in lines[0]):
        raise ArgumentError(
            f"classes={path}: it is not clear whether the numbers in the lines, such as {lines[0]}, are values of the "
            f"masks; write a CSV file with the header value,class, or a name on each line"
        )
    names = lines[1:] if lines[:1] == [LABELME_IGNORE] else lines
    return [ClassEntry(name, value) for value, name in enumerate(names)]


def _check_three(path: Path, neighbours: Sequence[str]) -> None:
    """Raise ArgumentError if all words beside the numbers of a colour are numbers, too: there are more than three."""
    if all(word.isdecimal() for word in neighbours):
        raise ArgumentError(f"classes={path}: each line has more than three numbers; expected red, green, blue, name")


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
