"""Read the tags of all pages of a TIFF or BigTIFF file, without its pixels."""

import struct
from collections.abc import Collection, Iterator, Mapping
from typing import BinaryIO

SIGNATURES = {b"II*\0": "<", b"MM\0*": ">", b"II+\0": "<", b"MM\0+": ">"}  # the first bytes of a file: its byte order
BIG = (b"II+\0", b"MM\0+")  # of BigTIFF, whose offsets have 8 bytes
MAX_PAGES = 65_536
MAX_TAGS = 4_096
MAX_VALUES = 65_536
# From TIFF's numbers of the types of integers to Python's; 13 and 18 are offsets of pages.
FORMATS = {1: "B", 3: "H", 4: "L", 13: "L", 16: "Q", 18: "Q"}
TEXT = 2

Tags = Mapping[int, tuple[int, ...] | str]


def is_tiff(start: bytes) -> bool:
    """Return whether a file that begins with these bytes is a TIFF."""
    return start[:4] in SIGNATURES


def read_tags(file: BinaryIO, wanted: Collection[int]) -> Iterator[Tags]:
    """Read tags of all pages of a TIFF.

    Args:
        file: the file.
        wanted: the numbers of the tags; the others are skipped.

    Yields:
        For each page in the order of the file, the wanted tags that it has: integers or a text.

    Raises:
        ValueError: if the file is damaged.
    """
    file.seek(0)
    start = _read(file, 4)
    order, big = SIGNATURES[start], start in BIG
    offset_format, count_format, entry_format = ("Q", "Q", "HHQ8s") if big else ("L", "H", "HHL4s")
    file.seek(8 if big else 4)
    offset = _unpack(file, order + offset_format)[0]
    seen: set[int] = set()
    while offset:
        if offset in seen or len(seen) == MAX_PAGES:
            raise ValueError("the list of the pages does not end")
        seen.add(offset)
        file.seek(offset)
        count = _unpack(file, order + count_format)[0]
        if count > MAX_TAGS:
            raise ValueError(f"a page has {count} tags")
        size = struct.calcsize(order + entry_format)
        entries = _read(file, size * count)
        offset = _unpack(file, order + offset_format)[0]
        yield {
            number: _value(file, order, offset_format, kind, length, place)
            for number, kind, length, place in struct.iter_unpack(order + entry_format, entries)
            if number in wanted and (kind in FORMATS or kind == TEXT)
        }


def _value(
    file: BinaryIO, order: str, offset_format: str, kind: int, length: int, place: bytes
) -> tuple[int, ...] | str:
    """Read the value of a tag; `place` holds the value itself if it is short enough, and otherwise its offset."""
    if kind == TEXT:
        length = min(length, MAX_VALUES)  # a microscope's description can be longer; its beginning is enough
    if length > MAX_VALUES:
        raise ValueError(f"a tag has {length} values")
    layout = f"{order}{length}{FORMATS.get(kind, 's')}"
    size = struct.calcsize(layout)
    if size > len(place):
        file.seek(struct.unpack(order + offset_format, place)[0])
        place = _read(file, size)
    values = struct.unpack(layout, place[:size])
    return values[0].decode("latin-1").strip("\0 ") if kind == TEXT else values


def _unpack(file: BinaryIO, layout: str) -> tuple[int, ...]:
    return struct.unpack(layout, _read(file, struct.calcsize(layout)))


def _read(file: BinaryIO, size: int) -> bytes:
    """Read a number of bytes; raise ValueError if the file has fewer."""
    content = file.read(size)
    if len(content) < size:
        raise ValueError("the file ends in its header")
    return content
